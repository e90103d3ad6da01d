"""The cost of methods and runs: evaluations of the denoiser, as counted by prior and learner themselves.

calls   evaluations that wait for each other
rows    images that they evaluate: one for each condition, for one image distilled
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from scoredistill import own
from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Prompt, Query
from scoredistill.methods.method import MethodConfig
from scoredistill.priors.analytic import AnalyticPrior, gaussian
from scoredistill.priors.low_rank_learner import LoraLearner, Start
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.recipe import Recipe
from scoredistill.schedule import cosine

UPDATES = 50  # enough for a mean over the falling t; what is computed once (DSD's ODE) is spread over them


@dataclass(frozen=True)
class Cost:
    """Evaluations, those of a learner and of its training included; of a method per update, the mean over a run."""

    calls: float
    rows: float


UNCOUNTED = Cost(calls=1, rows=2)  # per update: one call, with and without the prompt


@cache
def cost(config: MethodConfig, negative: str = "") -> Cost:
    """The cost of a method for one flat image, with or without a negative prompt, counted over `UPDATES` updates."""
    prior, rng = OnePixel(), torch.Generator().manual_seed(0)
    method = config.prepare(prior, seed=0)
    learner, start = getattr(method, "learner", None), getattr(method, "start", None)
    state = None if start is None else start()
    conditions = prior.conditions(Prompt("anything", negative), None, 1)
    gray = torch.zeros(1, 3, 1, 1)
    for update in range(UPDATES):
        query = Query(prior, conditions, update / UPDATES, rng, state, rgb=prior.decode(gray))
        method(query, gray)
        if learner is not None:
            learner.loss(query, gray)
    counters = [prior] if learner is None else [prior, learner]
    return Cost(*(sum(getattr(each, what) for each in counters) / UPDATES for what in ("calls", "rows")))


def run_cost(recipe: Recipe) -> Cost:
    """The evaluations of all steps of a run, and the rows of all of its images.

    A method of one's own may refuse the prior on which others are counted; then `UNCOUNTED` is assumed.
    """
    method, steps = recipe.method, recipe.training.steps
    each = UNCOUNTED if own.is_own(name_of(method)) else cost(method, recipe.prompt.negative)
    early = recipe.training.early_share
    images = early * images_of_step(recipe, 0.0) + (1 - early) * images_of_step(recipe, early)
    return Cost(each.calls * steps, each.rows * images * steps)


def images_of_step(recipe: Recipe, progress: float) -> int:
    """The images of an update at `progress` of the run: views of a 3D scene, or all images of a flat one."""
    batch = recipe.training.batch
    return getattr(recipe.scene, "count", batch) if recipe.flat else recipe.training.batch_at(progress, batch)


class OnePixel(AnalyticPrior):
    """The smallest prior that serves every method: Gaussians over one pixel, a linear layer for learners to adapt."""

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
        """A learner adapts the only layer."""
        return True

    def output(self, net: nn.Module, x_t: Tensor, t: Tensor, condition: object, view: Tensor) -> Tensor:
        """The layer on the pixel's colors."""
        return net(x_t.flatten(1)).reshape(x_t.shape)

    def learner(self, *, rank: int, lr: float, seed: int, start: Start) -> LoraLearner:
        """A second score on that layer."""
        return LoraLearner(self, rank=rank, lr=lr, seed=seed, start=start)
