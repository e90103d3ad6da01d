"""The driver of all 2-D studies: every caption and seed in one batch, by any method, with DDIM beside it.

x     images in the prior's space   [N 3 64 64], N = captions x seeds
x_T   unit noise                    [N 3 64 64]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Method, Query, Step
from scoredistill.methods import ddim, noise, scores, time
from scoredistill.methods.distillation import Distillation
from scoredistill.optimize import optimize
from scoredistill.parts import background, build_method
from scoredistill.run import Run, resolve
from scoredistill.scenery import image_start
from scoredistill.scenes.image import Image
from scoredistill.studies.study import Bench
from scoredistill.views import no_cameras

RATE = 0.03  # of Adam on pixels: an image crosses its whole range in some 30 steps

X = Float[Tensor, "N 3 64 64"]


def fast(bench: Bench, name: str, **settings: Any) -> Method:
    """A method of the catalogue with its fast preset, but for the `settings` given; with its learner if it has one."""
    run = resolve(Run(bench.captions[0], name, scene="image", seed=bench.seed, settings=settings))
    return build_method(run, bench.prior)


def image(bench: Bench, rate: float = RATE) -> Image:
    """Flat images to optimize, one for each caption and seed, from gray noise."""
    start = image_start(vars(resolve(Run(bench.captions[0], scene="image", seed=bench.seed, count=bench.rows))))
    return Image(start.to(bench.prior.device), lr=rate)


def watch(bench: Bench, scene: Image, method: Method) -> Iterator[Step]:
    """Distil the bench's captions into the images, and see every step."""
    run = resolve(Run(bench.captions[0], scene="image", device=bench.prior.device.type))
    steps = optimize(
        scene,
        bench.prior,
        method,
        no_cameras,
        bench.prompt,
        steps=bench.steps,
        background=background(run),
        seed=bench.seed,
        asset=bench.seed,
    )
    for step in steps:
        bench.told(f"step {step.index + 1}/{bench.steps}")
        yield step


def distill(bench: Bench, method: Method, rate: float = RATE) -> X:
    """What a method makes of the bench's captions in `bench.steps` updates."""
    scene = image(bench, rate)
    for _ in watch(bench, scene, method):
        pass
    return bench.prior.encode(scene.pixels.detach())


def query(bench: Bench) -> Query:
    """A question about the bench's captions outside a loop, with an empty memory."""
    conditions = bench.prior.conditions(bench.prompt, None, bench.rows)
    return Query(bench.prior, conditions, 0.0, torch.Generator().manual_seed(bench.seed), asset=bench.seed)


@torch.no_grad()
def sampled(bench: Bench, scale: float) -> X:
    """DDIM from the bench's noise."""
    return ddim.sample(bench.prior, bench.noise, query(bench).conditions, scale=scale, steps=bench.ddim_steps)


@torch.no_grad()
def cached_sdi(bench: Bench, scale: float) -> X:
    """SDI whose noise is the last prediction, x moved by the whole gradient: x <- D at DDIM's own times.

    Lukoianov et al. 2024, figure 1c: this is `sampled`, up to rounding.
    """
    ask = query(bench)
    x = noise.ddim_start(ask, bench.noise, scale)
    for index in range(bench.ddim_steps - 1, 0, -1):
        t = index / bench.ddim_steps
        method = Distillation(time.annealed(t, t), noise.cached, scores.guided(scale), scores.put_in, time.sbar)
        x = x - len(x) * method(ask, x).grad
    return x
