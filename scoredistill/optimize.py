"""Algorithm 1 of every score-distillation paper, as a generator: render, ask, step, refine, yield."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from scoredistill.contracts import Method, Prior, Prompt, Query, Scene, Step, Views, finite

ADAM = {"betas": (0.9, 0.99), "eps": 1e-15}  # as every official 3-D configuration; eps must not drown rare grid cells


class Dice:
    """Named random generators, all derived from one seed: cameras, the renderer's samples, the method's noise."""

    NAMES = ("cameras", "render", "method")

    def __init__(self, seed: int, **seeds: int):
        self.generators = {
            name: torch.Generator().manual_seed(seeds.get(name, 1_000_003 * seed + index))
            for index, name in enumerate(self.NAMES)
        }

    def __getitem__(self, name: str) -> torch.Generator:
        return self.generators[name]

    def state(self) -> dict[str, Tensor]:
        return {name: generator.get_state() for name, generator in self.generators.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        for name, generator in self.generators.items():
            generator.set_state(state[name])


def optimize(
    scene: Scene,
    prior: Prior,
    method: Method,
    views: Views,
    prompt: Prompt,
    *,
    steps: int,
    batch: int = 1,
    background: Tensor,
    seed: int = 0,
    memory: dict[str, Tensor] | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Distil `prior` into `scene` by `method`; yields after every step, so that a caller may watch, save or stop.

    psi <- Adam(psi, sum_views grad_x dx/dpsi + d regularizer/dpsi), grad_x from the method (stop-gradient).

    Args: `batch` views a step; `background` [3] in [0, 1]; `memory` what the method starts with; `resume` a
    `Step.checkpoint()` of the same run, after which the continuation is bit-identical on a CPU.
    Raises FloatingPointError where the prior, the gradient or a regularizer is not finite.
    """
    optimizer = torch.optim.Adam(scene.param_groups(), **ADAM)
    dice = Dice(seed)
    memory = dict(memory or {})
    first = 0
    if resume is not None:
        first = resume["index"] + 1
        scene.load_state_dict(resume["scene"])
        optimizer.load_state_dict(resume["optimizer"])
        dice.restore(resume["dice"])
        memory = dict(resume["memory"])
    for index in range(first, steps):
        progress = index / steps
        cameras = views(progress, batch, dice["cameras"])
        frame = scene.render(cameras, background, dice["render"])
        x = prior.encode(frame.rgb)
        conditions = prior.conditions(prompt, cameras, len(x))
        distilled = method(Query(prior, conditions, progress, dice["method"], memory), x.detach())
        regularization = scene.regularizer(frame, cameras, progress)
        finite("the scene's regularizer", [regularization])
        optimizer.zero_grad(set_to_none=True)
        (x * distilled.grad.to(x.dtype)).sum().add(regularization).backward()  # d/dpsi: grad_x dx/dpsi + d regularizer
        optimizer.step()
        scene.refine(index, dice["render"])

        def checkpoint(index: int = index) -> dict[str, Any]:
            return {
                "index": index,
                "scene": scene.state_dict(),
                "optimizer": optimizer.state_dict(),
                "dice": dice.state(),
                "memory": memory,
            }

        yield Step(index, float(regularization.detach()), distilled, frame, x.detach(), cameras, checkpoint)
