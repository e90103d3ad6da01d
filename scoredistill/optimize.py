"""Algorithm 1 of every score-distillation paper, as a generator: render, query the method, step, refine, yield."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import (
    Distilled,
    Frame,
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

ADAM = {"betas": (0.9, 0.99), "eps": 1e-15, "fused": True}
"""As every official 3D configuration: eps must not drown rare grid cells. Fused: one pass over a parameter, not ten."""


class Adam(torch.optim.Adam):
    """torch's Adam (Kingma and Ba 2015) without the entry points of its compiler, whose import takes a second."""

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


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


@dataclass(frozen=True)
class Descent:
    """Updates of a scene: psi <- Adam(psi, sum_views grad_x dx/dpsi + d regularizer/dpsi), or the scene's optimizer."""

    scene: Scene
    prior: Prior
    optimizer: torch.optim.Optimizer
    background: Float[Tensor, "3"]

    def seen(self, cameras: Any, rng: torch.Generator) -> tuple[Frame, Float[Tensor, "B C h w"]]:
        """The scene from `cameras` (none of a flat image), and x, the same in the prior's space."""
        frame = self.scene.render(cameras, self.background, rng)
        return frame, self.prior.encode(frame.rgb, rng)

    def update(self, frame: Frame, x: Tensor, distilled: Distilled, cameras: Any, progress: float) -> float:
        """Descend a gradient on `frame` and x; the regularizer's value."""
        regularization = self.scene.regularizer(frame, cameras, progress)
        finite("the scene's regularizer", [regularization])
        self.optimizer.zero_grad(set_to_none=True)
        (_with_gradient(x, distilled.grad) + _with_gradient(frame.rgb, distilled.grad_rgb) + regularization).backward()
        self.optimizer.step()
        return float(regularization.detach())


def optimize(
    scene: Scene,
    prior: Prior,
    method: Method | MethodSettings,
    views: Views,
    prompt: Prompt,
    *,
    steps: int,
    batch: int = 1,
    updates: int = 1,
    background: Tensor,
    seed: int = 0,
    asset_seed: int = 0,
    resume: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Distill `prior` into `scene` with `method`; yields after every step, so the caller can watch, save or stop.

    Each step computes the method's gradient for renders from new cameras and updates the scene with it (`Descent`). The
    same gradient then serves further updates, `updates` in total, each on a new render of the changed scene with the
    same cameras, rays and light. If the method has a learner, it is trained for one step on the first renders.

    Args: `batch` camera views per optimization step; `background` [3] in [0, 1]; `seed` of all random streams,
    `asset_seed` of the fixed per-asset noise (DSD); `resume`, a `Step.checkpoint()` of the same run, from which the
    continuation is bit-identical on a CPU.
    Raises FloatingPointError if the prior, the gradient or a regularizer is not finite.
    """
    if isinstance(method, MethodSettings):
        method = method.prepare(prior, seed)
    optimizer = scene.optimizer() if isinstance(scene, HasOptimizer) else Adam(scene.param_groups(), **ADAM)
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
            part.load_state_dict(_on(background.device, resume[name]) if name == "method" else resume[name])
    descent = Descent(scene, prior, optimizer, background)
    for index in range(first, steps):
        progress, rng = index / steps, streams["render"]
        cameras, same = views(progress, batch, streams["cameras"]), rng.get_state()
        frame, x = descent.seen(cameras, rng)
        conditions = prior.conditions(prompt, cameras, len(x))
        rgb = frame.rgb.detach()
        query = Query(prior, conditions, progress, streams["method"], state, cameras, rgb, asset_seed)
        distilled = method(query, x.detach())
        regularization = descent.update(frame, x, distilled, cameras, progress)
        scene.refine(index * updates, optimizer, rng)
        for count in range(index * updates + 1, (index + 1) * updates):
            again = torch.Generator(rng.device).set_state(same)
            descent.update(*descent.seen(cameras, again), distilled, cameras, count / (steps * updates))
            scene.refine(count, optimizer, rng)
        if learning is not None:
            learning.step(query, x.detach())

        def checkpoint(index: int = index) -> dict[str, Any]:
            return {"index": index} | {name: part.state_dict() for name, part in parts.items()}

        yield Step(index, regularization, distilled, frame, x.detach(), cameras, checkpoint)


def _on(device: torch.device, state: Any) -> Any:
    """The state of a method, which has no device of its own to copy to; bytes, as of a generator, stay on the CPU."""
    if isinstance(state, Tensor):
        return state if state.dtype == torch.uint8 else state.to(device)
    if isinstance(state, dict):
        return {name: _on(device, part) for name, part in state.items()}
    return [_on(device, part) for part in state] if isinstance(state, list | tuple) else state


def _with_gradient(image: Tensor, grad: Tensor | None) -> Tensor:
    """A scalar whose gradient on `image` is `grad`."""
    return image.new_zeros(()) if grad is None else (image * grad.to(image.dtype)).sum()
