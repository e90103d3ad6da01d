"""The driver of all 2D studies: every caption and seed in one batch, by any method, with DDIM beside it.

x     images in the prior's space   [N c h w], N = captions x seeds
x_T   unit noise                    [N c h w]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from scoredistill.contracts import Method, Query, Step
from scoredistill.methods import ddim
from scoredistill.methods.method import MethodConfig
from scoredistill.methods.sdi import cached_noise_sdi
from scoredistill.optimize import optimize
from scoredistill.randomness import stream
from scoredistill.scenes.image import Image, ImageConfig
from scoredistill.studies.study import Bench, X
from scoredistill.toybox import BACKGROUND
from scoredistill.views import no_cameras

RATE = 0.03  # of Adam on pixels: an image crosses its whole range in some 30 steps
LATENT_RATE = 3.3  # times that of pixels: with it Adam's rate is .1 on latents, as in the official 2D notebook


class InOwnSpace:
    """A prior for scenes that are latents: its `encode` leaves them as they are."""

    def __init__(self, prior: Any) -> None:
        self._prior = prior

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prior, name)

    def encode(self, x: X, rng: torch.Generator | None = None) -> X:
        """x."""
        return x


@torch.no_grad()
def image(bench: Bench, rate: float = RATE, **settings: Any) -> Image:
    """Flat images to optimize, one for each caption and seed, from gray noise: pixels, or the prior's latents.

    `settings` are those of the image.
    """
    config = ImageConfig(count=bench.rows, lr=rate, **settings)
    scene = config.build(rng=stream(bench.seed, "scene"), steps=bench.steps, resolution=bench.size)
    scene = scene.to(bench.prior.device)
    return Image(bench.prior.encode(scene.pixels), lr=LATENT_RATE * rate) if bench.latent else scene


def in_prior_space(bench: Bench, scene: Image) -> X:
    """The images of a scene as the prior sees them."""
    return scene.pixels.detach() if bench.latent else bench.prior.encode(scene.pixels.detach())


def watch(bench: Bench, scene: Image, method: Method | MethodConfig) -> Iterator[Step]:
    """Distill the bench's captions into the images; yields every step."""
    prior: Any = InOwnSpace(bench.prior) if bench.latent else bench.prior
    steps = optimize(
        scene,
        prior,
        method,
        no_cameras,
        bench.prompt,
        steps=bench.steps,
        background=torch.tensor(BACKGROUND, device=bench.prior.device),
        seed=bench.seed,
        asset_seed=bench.seed,
    )
    for step in steps:
        bench.progress(f"step {step.index + 1}/{bench.steps}")
        yield step


def distill(bench: Bench, method: Method | MethodConfig, rate: float = RATE, **settings: Any) -> X:
    """The images after `bench.steps` updates of a method for the bench's captions; `settings` of the images."""
    scene = image(bench, rate, **settings)
    for _ in watch(bench, scene, method):
        pass
    return in_prior_space(bench, scene)


def query(bench: Bench) -> Query:
    """A query for the bench's captions outside a loop, without a state."""
    conditions = bench.prior.conditions(bench.prompt, None, bench.rows)
    return Query(bench.prior, conditions, 0.0, torch.Generator().manual_seed(bench.seed), asset_seed=bench.seed)


@torch.no_grad()
def sampled(bench: Bench, scale: float) -> X:
    """DDIM from the bench's noise."""
    return ddim.sample(bench.prior, bench.noise, query(bench).conditions, scale=scale, steps=bench.ddim_steps)


@torch.no_grad()
def cached_sdi(bench: Bench, scale: float) -> X:
    """SDI whose noise is the last prediction, at DDIM's own times: this is `sampled`, up to rounding."""
    times = [index / bench.ddim_steps for index in range(bench.ddim_steps - 1, 0, -1)]
    *_, x = cached_noise_sdi(query(bench), bench.noise, scale=scale, times=times)
    return x
