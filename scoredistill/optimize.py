"""Algorithm 1 of every score-distillation paper, as a generator: render, query the method, step, refine, yield."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from scoredistill.contracts import (
    HasOptimizer,
    Learner,
    Method,
    MethodSettings,
    Prior,
    Prompt,
    Query,
    Scene,
    Step,
    Views,
    finite,
)
from scoredistill.randomness import RandomStreams

ADAM = {"betas": (0.9, 0.99), "eps": 1e-15}  # as every official 3D configuration; eps must not drown rare grid cells


class Learning:
    """A learner with its optimizer: one step on the renders of each step of the scene (Wang et al. 2023, VSD)."""

    def __init__(self, learner: Learner):
        self.learner = learner
        self.optimizer = torch.optim.AdamW(learner.param_groups(), **ADAM)

    def step(self, query: Query, x: Tensor) -> None:
        """Descend the learner's own loss on x [B C h w]; FloatingPointError where it is not finite."""
        loss = self.learner.loss(query, x)
        finite("the learner's loss", [loss])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])


def optimize(
    scene: Scene,
    prior: Prior,
    method: Method | MethodSettings,
    views: Views,
    prompt: Prompt,
    *,
    steps: int,
    batch: int = 1,
    background: Tensor,
    seed: int = 0,
    asset_seed: int = 0,
    resume: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Distil `prior` into `scene` by `method`; yields after every step, so that a caller may watch, save or stop.

    psi <- Adam(psi, sum_views grad_x dx/dpsi + d regularizer/dpsi), grad_x from the method (stop-gradient), or the step
    of the scene's own optimizer; then, where the method has one, a step of its learner on the same renders.

    Args: `batch` camera views per optimization step; `background` [3] in [0, 1]; `seed` of all random streams,
    `asset_seed` of the fixed per-asset noise (DSD); `resume` a `Step.checkpoint()` of the same run, after which the
    continuation is bit-identical on a CPU.
    Raises FloatingPointError where the prior, the gradient or a regularizer is not finite.
    """
    if isinstance(method, MethodSettings):
        method = method.prepare(prior, seed)
    own = isinstance(scene, HasOptimizer)
    optimizer = scene.optimizer() if own else torch.optim.Adam(scene.param_groups(), **ADAM)
    streams = RandomStreams(seed)
    learner = getattr(method, "learner", None)
    learning = None if learner is None else Learning(learner)
    start = getattr(method, "start", None)
    state = None if start is None else start()
    parts = {"scene": scene, "optimizer": optimizer, "streams": streams, "learning": learning, "method": state}
    parts = {name: part for name, part in parts.items() if part is not None}
    first = 0
    if resume is not None:
        first = resume["index"] + 1
        for name, part in parts.items():
            part.load_state_dict(resume[name])
    for index in range(first, steps):
        progress = index / steps
        cameras = views(progress, batch, streams["cameras"])
        frame = scene.render(cameras, background, streams["render"])
        x = prior.encode(frame.rgb, streams["render"])
        conditions = prior.conditions(prompt, cameras, len(x))
        rgb = frame.rgb.detach()
        query = Query(prior, conditions, progress, streams["method"], state, cameras, rgb, asset_seed)
        distilled = method(query, x.detach())
        regularization = scene.regularizer(frame, cameras, progress)
        finite("the scene's regularizer", [regularization])
        optimizer.zero_grad(set_to_none=True)
        (_with_gradient(x, distilled.grad) + _with_gradient(frame.rgb, distilled.grad_rgb) + regularization).backward()
        optimizer.step()
        scene.refine(index, optimizer, streams["render"])
        if learning is not None:
            learning.step(query, x.detach())

        def checkpoint(index: int = index) -> dict[str, Any]:
            return {"index": index} | {name: part.state_dict() for name, part in parts.items()}

        yield Step(index, float(regularization.detach()), distilled, frame, x.detach(), cameras, checkpoint)


def _with_gradient(image: Tensor, grad: Tensor | None) -> Tensor:
    """A scalar whose gradient on `image` is `grad`."""
    return image.new_zeros(()) if grad is None else (image * grad.to(image.dtype)).sum()
