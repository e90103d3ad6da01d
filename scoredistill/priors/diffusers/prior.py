"""Published text-to-image models as priors: Stable Diffusion 1.5 to 3.5, AuraFlow, Lumina 2, DeepFloyd IF.

The modules of this room, on which MVDream and Zero-1-to-3 are built too:

    hub.py             find(name) -> Checkpoint: index, settings, networks, tokenizers, tensors
    scheduler.py       read_schedule(settings) -> the noise schedule and what the network predicts
    text_encoders.py   encoder(checkpoint, ...) -> TextEncoder
    text.py            Texts: each text once;  Embedded: a condition's rows
    network.py         PublishedPrior: a published network's space, time and learner
    latents.py         Latents(vae, size), Pixels(size): encode and decode
    denoisers.py       DENOISERS: how each kind of network is evaluated
    view_prompting.py  ViewAngles: the view as words, interpolated embeddings, Perp-Neg
    lora.py            LoRA files, fused into the networks
    pipeline.py        a diffusers pipeline in memory, with the interface of a Checkpoint
    learner.py         peft's adapters for the learner of VSD and ESD

x is the scaled latent (of IF: pixels in [-1, 1]); t as everywhere, in [0, 1]; all rows of a call go in one batch.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Needs, Prompt
from scoredistill.priors.diffusers.denoisers import DENOISERS, Denoiser
from scoredistill.priors.diffusers.hub import Checkpoint, find
from scoredistill.priors.diffusers.latents import Latents, Pixels, Space, factor
from scoredistill.priors.diffusers.lora import fuse_lora
from scoredistill.priors.diffusers.network import PublishedPrior
from scoredistill.priors.diffusers.pipeline import PipelineCheckpoint
from scoredistill.priors.diffusers.scheduler import read_schedule
from scoredistill.priors.diffusers.text import Texts, mixed
from scoredistill.priors.diffusers.text_encoders import encoder
from scoredistill.priors.diffusers.view_prompting import NEGATIVE, VIEWS, ViewAngles, ViewPrompting, with_view
from scoredistill.priors.network import fast_dtype
from scoredistill.priors.parametrization import Prediction
from scoredistill.schedule import NoiseSchedule

log = logging.getLogger(__name__)

DISTILLED_NAMES = re.compile(r"(?:^|[-_/. ])(turbo|lightning|lcm|hyper-?sd\w*|schnell)(?:$|[-_/. @])", re.IGNORECASE)


class DiffusersPrior(PublishedPrior):
    """A published denoiser with its texts, its space and its noise schedule.

    `view_prompting` turns cameras into conditions: the words of the view, embeddings interpolated between two views, or
    those with Perp-Neg's negative views. `distilled` is the reason why there is no unconditional score, "" where there
    is one.
    """

    needs = Needs(published=True, view_prompting=True)

    def __init__(
        self,
        net: nn.Module,
        denoiser: Denoiser,
        space: Space,
        texts: Texts,
        levels: tuple[NoiseSchedule, Prediction],
        *,
        view_prompting: ViewPrompting = "words",
        view_angles: ViewAngles | None = None,
        distilled: str = "",
    ):
        super().__init__(net, denoiser, space, levels)
        self.texts, self.distilled = texts, distilled
        self.view_prompting, self.view_angles = view_prompting, view_angles or ViewAngles()

    @classmethod
    def load(
        cls,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        size: int | None = None,
        view_prompting: ViewPrompting = "words",
        view_angles: ViewAngles | None = None,
        lora: Sequence[str] = (),
    ) -> DiffusersPrior:
        """The prior of an alias, a folder or org/name[@revision] (see `hub`), at the model's own or another `size`.

        `dtype` defaults to bfloat16 where the device is fast with it; `lora` are files FILE[:weight], fused into the
        networks. A model whose guidance is distilled loads with a warning: it has no unconditional score. ValueError
        in one line where the model is not available, or is of no supported kind.
        """
        device = torch.device(device)
        checkpoint = find(name)
        return cls.of(
            checkpoint,
            device,
            dtype or fast_dtype(device),
            size=size,
            view_prompting=view_prompting,
            view_angles=view_angles,
            lora=lora,
        )

    @classmethod
    def from_pipeline(
        cls,
        pipeline: Any,
        *,
        size: int | None = None,
        view_prompting: ViewPrompting = "words",
        view_angles: ViewAngles | None = None,
    ) -> DiffusersPrior:
        """The prior of a diffusers pipeline in memory: a fine-tune, with LoRA loaded or fused, in its own precision.

        The pipeline's modules are used as they are, on its device; only gradients to their parameters are disabled.
        """
        checkpoint = PipelineCheckpoint(pipeline)
        network = checkpoint.network(DENOISERS[network_kind(checkpoint)].part, None)
        parameter = next(network.parameters())
        return cls.of(
            checkpoint,
            parameter.device,
            parameter.dtype,
            size=size,
            view_prompting=view_prompting,
            view_angles=view_angles,
        )

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint | PipelineCheckpoint,
        device: torch.device,
        dtype: torch.dtype,
        *,
        size: int | None,
        view_prompting: ViewPrompting,
        view_angles: ViewAngles | None,
        lora: Sequence[str] = (),
    ) -> DiffusersPrior:
        """The prior of a checkpoint, on the disk or in memory."""
        denoiser = DENOISERS[network_kind(checkpoint)]
        net: Any = checkpoint.network(denoiser.part, dtype).to(device)
        fuse_lora(net, denoiser.part, lora)
        net.to(memory_format=torch.channels_last)
        space = space_of(checkpoint, net.config.sample_size, device, dtype, size)
        scheduler = checkpoint.settings("scheduler", "scheduler_config.json")
        distilled = guidance_distilled(checkpoint, net.config, scheduler)
        if distilled:
            log.warning("%s: it works only with sds at scale 1", distilled)
        texts = Texts(lambda: encoder(checkpoint, device, dtype, lora))
        levels = read_schedule(scheduler)
        return cls(
            net,
            denoiser,
            space,
            texts,
            levels,
            view_prompting=view_prompting,
            view_angles=view_angles,
            distilled=distilled,
        )

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The encoded texts of `count` images; with cameras they include the view, by `view_prompting`.

        All texts of a prompt are encoded at its first use, and then the text encoders are freed.
        """
        plain = [self.denoiser.prefix + text for text in prompt.texts(count)]
        viewed = {view: [with_view(text, view) for text in plain] for view in VIEWS}
        self.texts.encode([prompt.negative, "", *plain, *itertools.chain(*viewed.values())])
        empty = None if self.distilled else self.texts([""] * count)
        null = self.texts([prompt.negative] * count) if prompt.negative and not self.distilled else empty
        unviewed = self.texts(plain)
        if cameras is None:
            return Conditions(unviewed, null, empty, unviewed, keys=tuple(plain))
        direction = (cameras.azimuth, cameras.elevation)
        if self.view_prompting == "words":
            texts = [viewed[view][row] for row, view in enumerate(self.view_angles.views(*direction))]
            return Conditions(self.texts(texts), null, empty, unviewed, keys=tuple(texts))
        views = [self.texts(viewed[view]) for view in VIEWS]
        perpendicular = ()
        if self.view_prompting == "perp-neg" and not self.distilled:
            weights = self.view_angles.away(*direction)
            perpendicular = tuple((views[view], weights[:, k]) for k, view in enumerate(NEGATIVE))
        return Conditions(mixed(views, self.view_angles.between(*direction)), null, empty, unviewed, perpendicular)


def network_kind(checkpoint: Checkpoint | PipelineCheckpoint) -> str:
    """The class of the pipeline's denoiser, a name in `DENOISERS`; ValueError for others, with the reason."""
    part = next((part for part in ("unet", "transformer") if checkpoint.has(part)), None)
    kind = "no denoiser" if part is None else checkpoint.kind(part)
    if kind not in DENOISERS:
        more = "; FLUX has its guidance distilled into it, so no unconditional score" if kind.startswith("Flux") else ""
        raise ValueError(f"{checkpoint} holds {kind}, which is not supported; supported: {', '.join(DENOISERS)}{more}")
    return kind


def space_of(
    checkpoint: Checkpoint | PipelineCheckpoint,
    sample_size: int,
    device: torch.device,
    dtype: torch.dtype,
    size: int | None = None,
) -> Space:
    """The autoencoder's latents, or pixels where there is none, at `size` pixels or those of the network's training.

    An autoencoder that overflows in float16 (`force_upcast`) runs in float32 then.
    """
    if not checkpoint.has("vae"):
        return Pixels(size or sample_size)
    config = checkpoint.settings("vae")
    upcast = dtype == torch.float16 and config.get("force_upcast", True)
    vae: Any = checkpoint.network("vae", torch.float32 if upcast else dtype).to(device)
    vae.to(memory_format=torch.channels_last)
    return Latents(vae, size or sample_size * factor(config))


def guidance_distilled(checkpoint: Checkpoint | PipelineCheckpoint, network: Any, scheduler: dict[str, Any]) -> str:
    """Why a model has no unconditional score, "" where it has one.

    Its network takes the guidance scale as an input, its sampler is one of few steps, or its name says so.
    """
    name = str(checkpoint)
    if network.get("guidance_embeds") or network.get("time_cond_proj_dim"):
        return f"{name} takes the guidance scale as an input, so guidance is distilled into it"
    if scheduler["_class_name"] in ("LCMScheduler", "TCDScheduler"):
        return f"{name} is sampled by a {scheduler['_class_name']}, so guidance is distilled into it"
    if found := DISTILLED_NAMES.search(name):
        return f"{name} is a {found[1].lower()} model, so guidance is distilled into it"
    return ""
