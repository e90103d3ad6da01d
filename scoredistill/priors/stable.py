"""Published text-to-image models as priors: Stable Diffusion 1.5, 2.1, XL, 3 and 3.5, and DeepFloyd IF's first stage.

How the pieces fit, for priors built on them (MVDream, Zero-1-to-3):

    hub.py             find(name) -> Checkpoint: index, settings, networks, tokenizers, tensors
    scheduler.py       read_schedule(settings) -> the noise schedule and what the network predicts
    text.py            encoder(checkpoint, ...) -> TextEncoder;  Texts: each text once;  Embedded: a condition's rows
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
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Prompt
from scoredistill.priors import prompt as seen
from scoredistill.priors.denoisers import ATTENTION, DENOISERS, Denoiser, Time, X
from scoredistill.priors.hub import Checkpoint, find
from scoredistill.priors.latents import Latents, Pixels, Space, factor
from scoredistill.priors.lora import LoraLearner
from scoredistill.priors.parametrization import Prediction, eps_from
from scoredistill.priors.prompt import VIEWS, Told, ViewWords
from scoredistill.priors.scheduler import read_schedule
from scoredistill.priors.text import Embedded, Texts, encoder, mixed, stacked
from scoredistill.priors.toybox import fast_dtype
from scoredistill.schedule import NoiseSchedule

log = logging.getLogger(__name__)

DISTILLED_NAMES = re.compile(r"(?:^|[-_/. ])(turbo|lightning|lcm|hyper-?sd\w*|schnell)(?:$|[-_/. @])", re.IGNORECASE)


class StablePrior:
    """A published denoiser with its texts, its space and its noise schedule.

    `told` says how cameras become conditions: the words of the view, embeddings between two views, or those with
    Perp-Neg's negative views. `distilled` is the reason why there is no text-free score, "" where there is one.
    `calls` and `rows` count evaluations of the network.
    """

    views = 1

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
        self.net, self.denoiser, self.space, self.texts = net, denoiser, space, texts
        self.schedule: NoiseSchedule = levels[0]
        self.prediction: Prediction = levels[1]
        self.told, self.words, self.distilled = told, words or ViewWords(), distilled
        self.embedding = denoiser.width(net)
        self.calls = self.rows = 0

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

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> X:
        """Pixels of any size to x; of latents a sample of the posterior drawn from `rng`, without it the mean."""
        return self.space.encode(rgb, rng)

    def decode(self, x: X) -> Float[Tensor, "B 3 H W"]:
        """x to pixels."""
        return self.space.decode(x)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The encoded texts of `count` images; with cameras they name the view, in the way of `told`.

        Everything the prompt can come to is encoded when it is first seen, and then the text encoders are let go.
        """
        plain = prompt.texts(count)
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

    def eps(self, x_t: X, t: Time, *conditions: Embedded) -> tuple[Tensor, ...]:
        """Noise predictions for each condition, all rows in one pass of the network."""
        rows = len(conditions)
        self.calls, self.rows = self.calls + 1, self.rows + rows * len(x_t)
        output = self.output(self.net, x_t.repeat(rows, 1, 1, 1), t.repeat(rows), stacked(conditions))
        return tuple(eps_from(self.prediction, part, x_t, t, self.schedule) for part in output.chunk(rows))

    def output(
        self, net: nn.Module, x_t: X, t: Time, condition: Embedded, view: Float[Tensor, "B E"] | None = None
    ) -> X:
        """What `net`, of the structure of the prior's own, predicts; a learner's shows it the `view` too."""
        return self.denoiser(net, x_t, self.time(t), condition, self.space.size, view)

    def time(self, t: Time) -> Time:
        """What the network calls the time: the index of `t`, or of a flow 1000 sigma(t)."""
        if self.prediction == "flow":
            return self.schedule.steps * self.schedule.sigma(t, torch.empty(len(t), dtype=torch.float64))
        return (self.schedule.snap(t) * self.schedule.steps).round()

    def adapted(self, layer: str) -> bool:
        """A learner adapts the projections of every attention."""
        return layer.endswith(ATTENTION)

    def learner(self, *, rank: int = 4, lr: float = 1e-4, seed: int = 0) -> LoraLearner:
        """A second score that starts as this one, to be trained on renders (VSD, ESD); `seed` of its adapters."""
        from scoredistill.priors.diffusers_learner import peft_adapters

        return LoraLearner(self, rank=rank, lr=lr, seed=seed, grow=peft_adapters)


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
