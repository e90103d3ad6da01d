"""Published text-to-image models as priors: Stable Diffusion 1.5 to 3.5, AuraFlow, Lumina 2, DeepFloyd IF.

How the pieces fit, for priors built on them (MVDream, Zero-1-to-3):

    hub.py             find(name) -> Checkpoint: index, settings, networks, tokenizers, tensors
    scheduler.py       read_schedule(settings) -> the noise schedule and what the network predicts
    text_encoders.py   encoder(checkpoint, ...) -> TextEncoder
    text.py            Texts: each text once;  Embedded: a condition's rows
    network.py         NetworkPrior: all conditions in one pass, counted
    published.py       PublishedPrior: a published network's space, time and learner
    latents.py         Latents(vae, size), Pixels(size): encode and decode
    denoisers.py       DENOISERS: how each kind of network is asked
    prompt.py          ViewWords: the view as words, mixed embeddings, Perp-Neg
    diffusers_learner  peft's adapters for the learner of VSD and ESD

x is the scaled latent (of IF: pixels in [-1, 1]); t as everywhere, in [0, 1]; all rows of a call go in one batch.
"""

from __future__ import annotations

import itertools
import logging
import re
from typing import Any

import torch
from torch import nn

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Prompt
from scoredistill.priors import prompt as seen
from scoredistill.priors.denoisers import DENOISERS, Denoiser
from scoredistill.priors.hub import Checkpoint, find
from scoredistill.priors.latents import Latents, Pixels, Space, factor
from scoredistill.priors.network import fast_dtype
from scoredistill.priors.parametrization import Prediction
from scoredistill.priors.prompt import VIEWS, Told, ViewWords
from scoredistill.priors.published import PublishedPrior
from scoredistill.priors.scheduler import read_schedule
from scoredistill.priors.text import Texts, mixed
from scoredistill.priors.text_encoders import encoder
from scoredistill.schedule import NoiseSchedule

log = logging.getLogger(__name__)

DISTILLED_NAMES = re.compile(r"(?:^|[-_/. ])(turbo|lightning|lcm|hyper-?sd\w*|schnell)(?:$|[-_/. @])", re.IGNORECASE)


class StablePrior(PublishedPrior):
    """A published denoiser with its texts, its space and its noise schedule.

    `told` says how cameras become conditions: the words of the view, embeddings between two views, or those with
    Perp-Neg's negative views. `distilled` is the reason why there is no text-free score, "" where there is one.
    """

    def __init__(
        self,
        net: nn.Module,
        denoiser: Denoiser,
        space: Space,
        texts: Texts,
        levels: tuple[NoiseSchedule, Prediction],
        *,
        told: Told = "words",
        words: ViewWords | None = None,
        distilled: str = "",
    ):
        super().__init__(net, denoiser, space, levels)
        self.texts, self.told, self.words, self.distilled = texts, told, words or ViewWords(), distilled

    @classmethod
    def load(
        cls,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        size: int | None = None,
        told: Told = "words",
        words: ViewWords | None = None,
    ) -> StablePrior:
        """The prior of an alias, a folder or org/name[@revision] (see `hub`), at the model's own or another `size`.

        ValueError in one line where it cannot be had, or is of no supported kind. `dtype` defaults to bfloat16 where
        the device is fast with it. A model whose guidance is distilled loads with a warning: it has no text-free score.
        """
        device = torch.device(device)
        dtype = dtype or fast_dtype(device)
        checkpoint = find(name)
        denoiser = DENOISERS[network_kind(checkpoint)]
        net: Any = checkpoint.network(denoiser.part, dtype).to(device)
        net.to(memory_format=torch.channels_last)
        space = space_of(checkpoint, net.config.sample_size, device, dtype, size)
        scheduler = checkpoint.settings("scheduler", "scheduler_config.json")
        distilled = guidance_distilled(checkpoint, net.config, scheduler)
        if distilled:
            log.warning("%s: only sds with scale 1 can be had of it", distilled)
        texts = Texts(lambda: encoder(checkpoint, device, dtype))
        levels = read_schedule(scheduler)
        return cls(net, denoiser, space, texts, levels, told=told, words=words, distilled=distilled)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The encoded texts of `count` images; with cameras they name the view, in the way of `told`.

        Everything the prompt can come to is encoded when it is first seen, and then the text encoders are let go.
        """
        plain = [self.denoiser.before + text for text in prompt.texts(count)]
        viewed = {view: [seen.with_view(text, view) for text in plain] for view in VIEWS}
        self.texts.learn([prompt.negative, "", *plain, *itertools.chain(*viewed.values())])
        empty = None if self.distilled else self.texts([""] * count)
        null = self.texts([prompt.negative] * count) if prompt.negative and not self.distilled else empty
        said = self.texts(plain)
        if cameras is None:
            return Conditions(said, null, empty, said, keys=tuple(plain))
        look = (cameras.azimuth, cameras.elevation)
        if self.told == "words":
            texts = [viewed[view][row] for row, view in enumerate(self.words.seen(*look))]
            return Conditions(self.texts(texts), null, empty, said, keys=tuple(texts))
        views = [self.texts(viewed[view]) for view in VIEWS]
        perpendicular = ()
        if self.told == "perp-neg" and not self.distilled:
            weights = self.words.away(*look)
            perpendicular = tuple((views[view], weights[:, k]) for k, view in enumerate(seen.NEGATIVE))
        return Conditions(mixed(views, self.words.between(*look)), null, empty, said, perpendicular)


def network_kind(checkpoint: Checkpoint) -> str:
    """The class of the pipeline's denoiser, a name in `DENOISERS`; ValueError for others, with the reason."""
    part = next((part for part in ("unet", "transformer") if checkpoint.has(part)), None)
    kind = "no denoiser" if part is None else checkpoint.kind(part)
    if kind not in DENOISERS:
        more = "; FLUX has its guidance distilled into it, so no text-free score" if kind.startswith("Flux") else ""
        raise ValueError(f"{checkpoint} holds {kind}, which is not supported; supported: {', '.join(DENOISERS)}{more}")
    return kind


def space_of(
    checkpoint: Checkpoint, sample_size: int, device: torch.device, dtype: torch.dtype, size: int | None = None
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


def guidance_distilled(checkpoint: Checkpoint, network: Any, scheduler: dict[str, Any]) -> str:
    """Why a model has no text-free score, "" where it has one.

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
