"""The one equation of score distillation; every method of the catalogue is a choice of its five terms.

    x_t    = alpha x + sigma kappa                       noise(x, t) -> kappa
    grad_x = w(t) [ target(x_t, t) - reference ]         (METHODS: the master form)

x       image in the prior's space   [B C h w]
t       diffusion time               [B] in [0, 1]
kappa   the noise put into x; equals the reference in SDS and SDI
D       one-step denoised image, x_t / alpha - sbar target
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Distilled, Learner, Query, finite
from scoredistill.schedule import NoiseSchedule

X = Float[Tensor, "B C h w"]
Time = Float[Tensor, "B"]


@dataclass(frozen=True)
class Noised:
    """An image and its noised self at one time."""

    x: X
    t: Time
    kappa: X
    x_t: X


TimeRule = Callable[[Query, int], Time]
NoiseRule = Callable[[Query, X, Time], X]
TargetRule = Callable[[Query, Noised], X]
ReferenceRule = Callable[[Query, Noised], X]
WeightRule = Callable[[NoiseSchedule, Time, Tensor], Tensor]
Reduction = Literal["sum_over_latent", "mean_over_latent"]


@dataclass(frozen=True)
class Distillation:
    """grad_x = w(t) [ target(x_t, t) - reference ], reduced over the batch by a named rule.

    `sum_over_latent` divides by B (threestudio's SDS and most others), `mean_over_latent` by B C h w (threestudio's
    SDI): the same direction, but another weight against the scene's regularizers.
    """

    time: TimeRule
    noise: NoiseRule
    target: TargetRule
    reference: ReferenceRule
    weight: WeightRule
    reduction: Reduction = "sum_over_latent"
    learner: Learner | None = None

    def __call__(self, query: Query, x: X) -> Distilled:
        schedule = query.prior.schedule
        t = schedule.snap(self.time(query, len(x)))
        kappa = self.noise(query, x, t)
        noised = Noised(x, t, kappa, schedule.diffuse(x, kappa, t))
        target = self.target(query, noised)
        grad = self.weight(schedule, t, x) * (target - self.reference(query, noised))
        finite("the score-distillation gradient", [grad])
        query.memory["eps"] = target  # what cached noise goes on from
        probe = {"t": t, "kappa": kappa, "x_t": noised.x_t, "x0": schedule.clean(noised.x_t, target, t)}
        return Distilled(grad / _divisor(self.reduction, x), probe)


def _divisor(reduction: Reduction, x: Tensor) -> int:
    return len(x) if reduction == "sum_over_latent" else x.numel()
