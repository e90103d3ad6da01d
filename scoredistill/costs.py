"""What a method costs: evaluations of the denoiser per update, counted by prior and learner themselves.

calls   evaluations that wait for each other
rows    images they see: one for each condition, for one image distilled
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Prompt, Query
from scoredistill.parts import build_method
from scoredistill.priors.analytic import AnalyticPrior, gaussian
from scoredistill.priors.lora import LoraLearner
from scoredistill.run import Run, resolve
from scoredistill.schedule import cosine

UPDATES = 50  # enough for a mean over the falling t; what is computed once (DSD's ODE) is spread over them


@dataclass(frozen=True)
class Cost:
    """Evaluations per update, a mean over a whole run; those of a learner and of its training included."""

    calls: float
    rows: float


def cost(method: str, preset: str = "fast", negative: str = "") -> Cost:
    """What `method` costs with the settings of `preset`, for one flat image, with or without a negative prompt.

    Counted over `UPDATES` updates. ValueError for unknown names.
    """
    run = resolve(Run("anything", method=method, scene="image", preset=preset, negative=negative))
    prior, rng, memory = Pixel(), torch.Generator().manual_seed(0), {}
    distil = build_method(run, prior)
    learner = getattr(distil, "learner", None)
    conditions = prior.conditions(Prompt(run.prompt, negative), None, 1)
    gray = torch.zeros(1, 3, 1, 1)
    for update in range(UPDATES):
        query = Query(prior, conditions, update / UPDATES, rng, memory, rgb=prior.decode(gray))
        distil(query, gray)
        if learner is not None:
            learner.loss(query, gray)
    counters = [prior] if learner is None else [prior, learner]
    return Cost(*(sum(getattr(each, what) for each in counters) / UPDATES for what in ("calls", "rows")))


class Pixel(AnalyticPrior):
    """The smallest prior that every method can ask: Gaussians over one pixel, a linear layer for learners to adapt."""

    embedding = 1

    def __init__(self) -> None:
        gray = torch.zeros(3, 1, 1)
        super().__init__(gaussian(gray, 0.5), gaussian(gray, 1.0), cosine())
        self.net = nn.Sequential(nn.Linear(3, 3))

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """As other priors: a negative prompt is a condition of its own."""
        conditions = super().conditions(prompt, cameras, count)
        return replace(conditions, null=gaussian(torch.ones(3, 1, 1), 1.0)) if prompt.negative else conditions

    def adapted(self, layer: str) -> bool:
        """A learner adapts the one layer there is."""
        return True

    def output(self, net: nn.Module, x_t: Tensor, t: Tensor, condition: object, view: Tensor) -> Tensor:
        """The layer on the pixel's colors."""
        return net(x_t.flatten(1)).reshape(x_t.shape)

    def learner(self, *, rank: int, lr: float, seed: int) -> LoraLearner:
        """A second score on that layer."""
        return LoraLearner(self, rank=rank, lr=lr, seed=seed)
