"""Which noise to put into x: drawn, kept from the last step, or inferred by inverting DDIM.

kappa   noise, unit scale   [B C h w]
until   the level kappa is found at (t + tau); kappa is then added at level t
xbar    rescaled noisy image x_t / alpha, moving up from the lowest level
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Conditions, Prior, Query
from scoredistill.methods.distillation import NoiseRule, Time, X
from scoredistill.methods.scores import guided_eps


def fresh(query: Query, x: X, t: Time) -> X:
    """kappa ~ N(0, I), new at every step (Poole et al. 2022)."""
    return gaussian(x, query.rng)


def cached(query: Query, x: X, t: Time) -> X:
    """The noise prediction of the last step: with x <- D this is DDIM itself (Lukoianov et al. 2024, fig. 1c).

    Starts from `ddim_start`, whose noise must stand in the query's memory.
    """
    if "eps" not in query.memory:
        raise ValueError("cached noise has no last prediction yet; start the image with methods.noise.ddim_start")
    return query.memory["eps"]


def ddim_start(query: Query, x_T: X, scale: float) -> X:
    """The image D(x_T, T) that a DDIM trajectory shows first; leaves its noise prediction in the query's memory."""
    schedule = query.prior.schedule
    t = schedule.snap(torch.ones(len(x_T), dtype=torch.float64))
    query.memory["eps"] = guided_eps(query.prior, x_T, t, query.conditions, scale)
    return schedule.clean(x_T, query.memory["eps"], t)


def inversion(
    scale: float = -7.5, steps_per_unit: float = 10.0, tau: float = 1 / 30, entropy: float = 0.3
) -> NoiseRule:
    """kappa = DDIM-inversion(x, 0 -> t + tau) + entropy sigma eps_H (Lukoianov et al. 2024, eq. 11 and algorithm 2).

    Args: guidance `scale` of the inversion (negative works best in 3-D, their fig. 10); int(steps_per_unit t) steps,
    at least one; tau drawn from U[0, tau] for each image; standard deviation `entropy` sigma of the added noise.
    Differs from the official code: kappa is re-noised to level t, as the paper says (METHODS D1).
    """

    def rule(query: Query, x: X, t: Time) -> X:
        schedule = query.prior.schedule
        ahead = tau * torch.rand(len(x), generator=query.rng, dtype=torch.float64)
        until = schedule.snap(t + ahead)
        steps = (steps_per_unit * t + 1e-6).long().clamp(min=1)
        kappa = invert(query.prior, x, levels(query.prior, until, steps), query.conditions, scale)
        if entropy == 0:
            return kappa
        return kappa + entropy * schedule.sigma(until, x) * gaussian(x, query.rng)

    return rule


def levels(prior: Prior, until: Time, steps: Tensor) -> Float[Tensor, "K B"]:
    """Ascending times from the lowest level to `until` [B], evenly spaced in `steps` [B] steps for each image.

    An image with fewer steps than its neighbors waits at its last level, where a DDIM step is the identity.
    """
    share = torch.arange(int(steps.max()) + 1, dtype=torch.float64)[:, None] / steps
    return torch.stack([prior.schedule.snap(until * part) for part in share.clamp(max=1)])


def invert(prior: Prior, x: X, times: Float[Tensor, "K B"], conditions: Conditions, scale: float) -> X:
    """DDIM inversion of x along ascending `times`; the network is queried at the source level of each step.

    xbar <- xbar + (sbar_hi - sbar_lo) eps_g(alpha_lo xbar, lo);  kappa = (xbar - x) / sbar_end
    (Lukoianov et al. 2024, eq. 2 run upwards). kappa is thus the sbar-weighted mean of the predictions on the way.
    """
    schedule = prior.schedule
    xbar = x
    for low, high in itertools.pairwise(times):
        eps = guided_eps(prior, schedule.alpha(low, x) * xbar, low, conditions, scale)
        xbar = xbar + (schedule.sbar(high, x) - schedule.sbar(low, x)) * eps
    return (xbar - x) / schedule.sbar(times[-1], x)


def gaussian(like: Tensor, rng: torch.Generator) -> Tensor:
    """N(0, I) of the shape of `like`, drawn on the CPU so that every device sees the same numbers."""
    return torch.randn(like.shape, generator=rng, dtype=like.dtype).to(like.device)
