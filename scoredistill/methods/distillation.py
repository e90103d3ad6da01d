"""The one equation of score distillation; every method of the catalogue is a choice of its terms.

    x_t    = alpha x + sigma kappa                          noise(x, t, r) -> kappa
    grad_x = w(t) [ target(x_t, t) - reference(..., r) ]    (METHODS: the master form)

x       image in the prior's space   [B C h w]
t       diffusion time               [B] in [0, 1]
r       a second time: where the noise was found, or where the reference is taken; t itself unless a method says else
kappa   the noise put into x; equals the reference in SDS and SDI
D       one-step denoised image, x_t / alpha - sbar target
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Distilled, Learner, Query, finite
from scoredistill.schedule import NoiseSchedule

X = Float[Tensor, "B C h w"]
Time = Float[Tensor, "B"]


@dataclass(frozen=True)
class Noised:
    """An image and its noised self."""

    x: X
    t: Time
    r: Time
    kappa: X
    x_t: X


TimeRule = Callable[[Query, int], Time]
LevelRule = Callable[[Query, Time], Time]
NoiseRule = Callable[[Query, X, Time, Time], X]
TargetRule = Callable[[Query, Noised], X]
ReferenceRule = Callable[[Query, Noised, X], X]
WeightRule = Callable[[NoiseSchedule, Time, Tensor], Tensor]
Reduction = Literal["sum_over_latent", "mean_over_latent"]


def same(query: Query, t: Time) -> Time:
    """r = t: a method without a second time."""
    return t


@dataclass(frozen=True)
class Distillation:
    """grad_x = w(t) [ target(x_t, t) - reference ], reduced over the batch by a named rule.

    `reference` also sees the target's answer. `clip` bounds the bracket elementwise, by progress. `sum_over_latent`
    divides by B (threestudio's SDS and most others), `mean_over_latent` by B C h w (threestudio's SDI): the same
    direction, but another weight against the scene's regularizers.
    """

    time: TimeRule
    noise: NoiseRule
    target: TargetRule
    reference: ReferenceRule
    weight: WeightRule
    level: LevelRule = same
    clip: Callable[[float], float] | None = None
    reduction: Reduction = "sum_over_latent"
    learner: Learner | None = None

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        schedule = query.prior.schedule
        t = schedule.snap(self.time(query, len(x)))
        r = schedule.snap(self.level(query, t))
        kappa = self.noise(query, x, t, r)
        noised = Noised(x, t, r, kappa, schedule.diffuse(x, kappa, t))
        target = self.target(query, noised)
        difference = target - self.reference(query, noised, target)
        if self.clip is not None:
            bound = self.clip(query.progress)
            difference = difference.clamp(-bound, bound)
        grad = self.weight(schedule, t, x) * difference / divisor(self.reduction, x)
        finite("the score-distillation gradient", [grad])
        query.memory["eps"] = target  # what cached noise goes on from
        probe = {"t": t, "kappa": kappa, "x_t": noised.x_t, "x0": schedule.clean(noised.x_t, target, t)}
        return Distilled(grad, probe=probe)


def divisor(reduction: Reduction, x: Tensor) -> int:
    """What a reduction divides the gradients of a batch by."""
    return len(x) if reduction == "sum_over_latent" else x.numel()
