"""Published text-to-image models as priors: Stable Diffusion 1.5 to 3.5, AuraFlow, Lumina 2, DeepFloyd IF.

The modules of this package, which MVDream and Zero-1-to-3 use as well:

    hub.py             find(name) -> Checkpoint, by alias, folder or hub id
    fetch.py           files from the cache and the hub; nothing else uses the network
    checkpoint.py      Checkpoint: index, settings, networks, tokenizers, tensors of a folder, each file checked
    single_file.py     Stable Diffusion in a single file, with the settings of a folder
    checks.py          settings of a model's parts against each other
    scheduler.py       schedule_of(checkpoint) -> the noise schedule and what the network predicts
    text_encoders.py   encoder(checkpoint, ...) -> TextEncoder
    tokenizing.py      Tokens: a prompt cut so that the words of its view stay
    text.py            Texts: cached embeddings;  Embedded: a condition
    network.py         PublishedPrior: space, time and learner of a published network
    latents.py         Latents(vae, size), Pixels(size): encode and decode
    denoisers.py       DENOISERS: the evaluation of each kind of network
    view_prompting.py  ViewAngles: view words, interpolated embeddings, Perp-Neg
    lora.py            LoRA files, fused into the networks
    pipeline.py        a diffusers pipeline in memory, with the interface of a Checkpoint
    learner.py         peft's adapters for the learner of VSD and ESD

x is the scaled latent (of IF: pixels in [-1, 1]).
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Needs, Prompt
from scoredistill.priors.diffusers.checkpoint import Checkpoint
from scoredistill.priors.diffusers.checks import check_channels, check_vae, text_width, training_size
from scoredistill.priors.diffusers.denoisers import DENOISERS, Denoiser
from scoredistill.priors.diffusers.hub import find
from scoredistill.priors.diffusers.latents import Latents, Pixels, Space, factor
from scoredistill.priors.diffusers.lora import fuse_loras, parse_lora, read_loras
from scoredistill.priors.diffusers.network import PublishedPrior
from scoredistill.priors.diffusers.pipeline import PipelineCheckpoint
from scoredistill.priors.diffusers.scheduler import schedule_of
from scoredistill.priors.diffusers.single_file import single_file
from scoredistill.priors.diffusers.text import Texts, mixed
from scoredistill.priors.diffusers.text_encoders import encoder
from scoredistill.priors.diffusers.view_prompting import (
    NEGATIVE,
    VIEWS,
    ViewAngles,
    ViewPrompting,
    with_prefix,
    with_view,
)
from scoredistill.priors.network import fast_dtype
from scoredistill.priors.parametrization import Prediction
from scoredistill.priors.weight_files import is_weight_file
from scoredistill.schedule import NoiseSchedule

log = logging.getLogger(__name__)

DISTILLED_NAMES = re.compile(r"(?:^|[-_. ])(turbo|lightning|lcm|hyper-?sd\w*|schnell)(?:$|[-_. ])", re.IGNORECASE)


class DiffusersPrior(PublishedPrior):
    """A published text-to-image model: denoiser, text encoding, space and noise schedule.

    `view_prompting`: cameras select view words, interpolate between the embeddings of two views, also add the negative
    views of Perp-Neg, or have no effect. `distilled`: why there is no unconditional score, "" if there is one.
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
        """The prior of an alias, a folder, a file or org/name[@revision], at its training resolution or `size`.

        `dtype` defaults to `fast_dtype`; `lora` are files FILE[:weight], fused into the networks. A guidance-distilled
        model, which has no unconditional score, loads with a warning. ValueError in one line if the model is not
        available or not supported.
        """
        device = torch.device(device)
        dtype = dtype or fast_dtype(device)
        return cls.of(
            single_file(Path(name), dtype) if is_weight_file(name) else find(name),
            device,
            dtype,
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

        The prior uses the pipeline's weights where they are, in their precision and on their device. The pipeline
        itself stays as it is: modes, gradients and settings of its modules are not changed.
        """
        checkpoint = PipelineCheckpoint(pipeline)
        denoiser = checkpoint.components[DENOISERS[network_kind(checkpoint)].part]
        return cls.of(
            checkpoint,
            denoiser.device,
            denoiser.dtype,
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
        check_lora(checkpoint, lora)
        check_channels(checkpoint, denoiser.part)
        side, levels = training_size(checkpoint, denoiser.part), schedule_of(checkpoint)
        net: Any = checkpoint.network(denoiser.part, dtype).to(device)
        loras = read_loras(lora, net.config)
        fuse_loras(net, denoiser.part, loras)
        if isinstance(checkpoint, Checkpoint):  # in memory it would copy the pipeline's weights
            net.to(memory_format=torch.channels_last)
        space = space_of(checkpoint, side, device, dtype, size)
        scheduler = checkpoint.settings("scheduler", "scheduler_config.json")
        distilled = guidance_distilled(checkpoint, net.config, scheduler)
        if distilled:
            log.warning("%s: it works only with sds at scale 1", distilled)
        width = text_width(checkpoint, denoiser.part)
        texts = Texts(lambda: encoder(checkpoint, device, dtype, loras, width=width))
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
        """The encoded texts of `count` images; with cameras they include the view, according to `view_prompting`.

        All texts of a prompt are encoded at its first use; then the text encoders are freed.
        """
        texts, instruction = prompt.texts(count), self.denoiser.prefix
        named = with_prefix if self.view_prompting == "prefix" else with_view
        plain = [instruction + text for text in texts]
        viewed = {view: [instruction + named(text, view) for text in texts] for view in VIEWS}
        self.texts.encode([prompt.negative, "", *itertools.chain(*viewed.values()), *plain])
        empty = None if self.distilled else self.texts([""] * count)
        null = self.texts([prompt.negative] * count) if prompt.negative and not self.distilled else empty
        unviewed = self.texts(plain)
        if cameras is None or self.view_prompting == "none":
            return Conditions(unviewed, null, empty, unviewed, keys=tuple(plain))
        direction = (cameras.azimuth, cameras.elevation)
        if self.view_prompting in ("words", "prefix"):
            shown = [viewed[view][row] for row, view in enumerate(self.view_angles.views(*direction))]
            return Conditions(self.texts(shown), null, empty, unviewed, keys=tuple(shown))
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


def check_lora(checkpoint: Checkpoint | PipelineCheckpoint, files: Sequence[str]) -> None:
    """ValueError in one line for LoRA files that are not there, or a model that is not Stable Diffusion 1, 2 or XL."""
    for file in files:
        parse_lora(file)
    if files and not (checkpoint.has("unet") and checkpoint.kind("text_encoder").startswith("CLIP")):
        raise ValueError(f"{checkpoint} takes no LoRA files: they are supported for Stable Diffusion 1, 2 and XL")


def space_of(
    checkpoint: Checkpoint | PipelineCheckpoint,
    sample_size: int,
    device: torch.device,
    dtype: torch.dtype,
    size: int | None = None,
) -> Space:
    """The latents of the autoencoder, or pixels if there is none, at `size` pixels or the training resolution.

    In float16, an autoencoder that overflows (`force_upcast`) runs in float32.
    """
    if not checkpoint.has("vae"):
        return Pixels(size or sample_size)
    config = checkpoint.settings("vae")
    check_vae(checkpoint, config)
    upcast = dtype == torch.float16 and config.get("force_upcast", True)
    vae: Any = checkpoint.network("vae", torch.float32 if upcast else dtype).to(device)
    if isinstance(checkpoint, Checkpoint):
        vae.to(memory_format=torch.channels_last)
    return Latents(vae, size or sample_size * factor(config))


def guidance_distilled(checkpoint: Checkpoint | PipelineCheckpoint, network: Any, scheduler: dict[str, Any]) -> str:
    """Why a model has no unconditional score, "" if it has one.

    Recognized by the guidance scale as a network input, by a few-step sampler, or by the name of the model.
    """
    name = str(checkpoint)
    if network.get("guidance_embeds") or network.get("time_cond_proj_dim"):
        return f"{name} takes the guidance scale as an input, so guidance is distilled into it"
    if scheduler["_class_name"] in ("LCMScheduler", "TCDScheduler"):
        return f"{name} is sampled by a {scheduler['_class_name']}, so guidance is distilled into it"
    if found := DISTILLED_NAMES.search(checkpoint.model):
        return f"{name} is a {found[1].lower()} model, so guidance is distilled into it"
    return ""
