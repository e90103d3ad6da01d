"""The master form of score distillation, of which most methods are a choice of terms.

    x_t    = alpha x + sigma kappa                          noise(query, x, t, r) -> kappa
    grad_x = w(t) [ target(x_t, t) - reference(x, kappa, r) ]

x       image in the prior's space   [B C h w]
t       diffusion time               [B] in [0, 1]
r       second time: the level at which the noise is inferred, or the reference is evaluated; t unless stated
kappa   the injected noise; the reference of SDS and SDI
D       one-step denoised image, x_t / alpha - sbar target
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Distilled, Learner, Query, State, finite
from scoredistill.schedule import NoiseSchedule

X = Float[Tensor, "B C h w"]
Time = Float[Tensor, "B"]


@dataclass(frozen=True)
class Noisy:
    """An image and its noised version."""

    x: X
    t: Time
    r: Time
    kappa: X
    x_t: X


TimeRule = Callable[[Query, int], Time]
SecondTimeRule = Callable[[Query, Time], Time]
NoiseRule = Callable[[Query, X, Time, Time], X]
TargetRule = Callable[[Query, Noisy], X]
ReferenceRule = Callable[[Query, Noisy, X], X]
WeightRule = Callable[[NoiseSchedule, Time, Tensor], Tensor]
Reduction = Literal["sum_over_latent", "mean_over_latent", "sum_over_batch", "unit_norm"]

TINY = 1e-8
"""Added to the norm of a batch's gradient before it is divided by it (CSD's official code)."""


def same_time(query: Query, t: Time) -> Time:
    """r = t: a method without a second time."""
    return t


def injected_noise(query: Query, noisy: Noisy, target: X) -> X:
    """The reference of SDS and SDI: kappa, the noise that was injected into x."""
    return noisy.kappa


@dataclass(frozen=True)
class Distillation:
    """grad_x = w(t) [ target(x_t, t) - reference ], divided by a named reduction.

    `reference` also receives the target. `clip` bounds the bracket elementwise, by progress. `start` begins the state
    that `query.state` carries from step to step.
    """

    time: TimeRule
    noise: NoiseRule
    target: TargetRule
    reference: ReferenceRule
    weight: WeightRule
    second_time: SecondTimeRule = same_time
    clip: Callable[[float], float] | None = None
    reduction: Reduction = "sum_over_latent"
    learner: Learner | None = None
    start: Callable[[], State] | None = None

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        schedule = query.prior.schedule
        t = schedule.snap(self.time(query, len(x)))
        r = schedule.snap(self.second_time(query, t))
        kappa = self.noise(query, x, t, r)
        noisy = Noisy(x, t, r, kappa, schedule.diffuse(x, kappa, t))
        target = self.target(query, noisy)
        difference = target - self.reference(query, noisy, target)
        if self.clip is not None:
            bound = self.clip(query.progress)
            difference = difference.clamp(-bound, bound)
        grad = reduced(self.weight(schedule, t, x) * difference, self.reduction)
        return Distilled(grad, probe=probe(query, noisy, target))


def reduced(gradients: X, reduction: Reduction) -> X:
    """The gradients of a batch, divided so that they have a named weight against the scene's regularizers.

    By B (`sum_over_latent`, threestudio's SDS), by B C h w (`mean_over_latent`, its SDI), by 1 (`sum_over_batch`,
    LucidDreamer), or by B times the norm of the whole batch (`unit_norm`, CSD). All have the same direction.
    FloatingPointError where a gradient is not finite.
    """
    divisors = {
        "sum_over_latent": len(gradients),
        "mean_over_latent": gradients.numel(),
        "sum_over_batch": 1,
        "unit_norm": len(gradients) * (gradients.norm() + TINY),
    }
    grad = gradients / divisors[reduction]
    finite("the score-distillation gradient", [grad])
    return grad


def probe(query: Query, noisy: Noisy, eps: X) -> dict[str, Tensor]:
    """Tensors to display: t, kappa, x_t, the noise prediction eps and the one-step denoised image x0."""
    x0 = query.prior.schedule.clean(noisy.x_t, eps, noisy.t)
    return {"t": noisy.t, "kappa": noisy.kappa, "x_t": noisy.x_t, "eps": eps, "x0": x0}
