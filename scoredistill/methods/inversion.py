"""DDIM inversion: the noise from which DDIM would lead to an image (Song et al. 2021; Lukoianov et al. 2024, eq. 11).

kappa   inferred noise, unit scale                      [B C h w]
xbar    rescaled noisy image x_t / alpha                [B C h w]
times   ascending diffusion times of the inversion      [K B]
"""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Conditions, Prior, Query
from scoredistill.methods.distillation import NoiseRule, Time, X
from scoredistill.methods.guidance import guided_eps
from scoredistill.randomness import gaussian

Times = Float[Tensor, "K B"]


def inverted_noise(scale: float, steps_per_unit: float, entropy: float = 0.0, start: float = 0.0) -> NoiseRule:
    """kappa = DDIM-inversion(x, start -> r) + entropy sigma eps_H (Lukoianov et al. 2024, eq. 11 and algorithm 2).

    Args: guidance `scale` of the inversion (negative works best in 3D, their fig. 10); int(steps_per_unit t) steps,
    at least one; standard deviation `entropy` sigma of the Gaussian noise added; smallest timestep `start` evaluated,
    for priors that predict badly at the lowest noise levels. Differs from the official code: kappa is re-noised to
    level t, as the paper says.
    """

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        steps = number_of_steps(steps_per_unit, t)
        kappa = invert(query.prior, x, even_times(query.prior, r, steps, start), query.conditions, scale)
        if entropy == 0:
            return kappa
        return kappa + entropy * query.prior.schedule.sigma(r, x) * gaussian(x, query.rng)

    return rule


def number_of_steps(steps_per_unit: float, t: Time) -> Tensor:
    """int(steps_per_unit t) for each image, at least one."""
    return (steps_per_unit * t + 1e-6).long().clamp(min=1)


def even_times(prior: Prior, until: Time, steps: Tensor, start: float = 0.0) -> Times:
    """Ascending times from `start` to `until` [B], evenly spaced in `steps` [B] steps for each image.

    An image with fewer steps than others stays at its last level, where a DDIM step is the identity.
    """
    share = torch.arange(int(steps.max()) + 1, dtype=torch.float64)[:, None] / steps
    low = until.clamp(max=start)
    return torch.stack([prior.schedule.snap(low + (until - low) * part) for part in share.clamp(max=1)])


def strided_times(prior: Prior, until: Time, stride: float) -> Times:
    """Ascending times from the lowest level in steps of `stride` to `until` [B], the last step shortened."""
    if stride <= 0:
        raise ValueError(f"an inversion needs a positive stride, got {stride:g}")
    steps = torch.arange(math.ceil(float(until.max()) / stride - 1e-9) + 1, dtype=torch.float64)
    return torch.stack([prior.schedule.snap(t.minimum(until)) for t in stride * steps])


def invert(prior: Prior, x: X, times: Times, conditions: Conditions, scale: float) -> X:
    """DDIM inversion of x along ascending `times`; the network is evaluated at the lower level of each step.

    xbar <- xbar + (sbar_hi - sbar_lo) eps_g(alpha_lo xbar, lo);  kappa = (xbar - x) / sbar_end
    (Lukoianov et al. 2024, eq. 2 run upwards). kappa is thus the sbar-weighted mean of the predictions on the way.
    """
    return (ascend(prior, x, times, conditions, scale) - x) / prior.schedule.sbar(times[-1], x)


def ascend(prior: Prior, xbar: X, times: Times, conditions: Conditions, scale: float) -> X:
    """The rescaled image at times[-1] that DDIM reaches from `xbar` at times[0], one step for each further time.

    A step between equal times, which is the identity, does not evaluate the prior.
    """
    schedule = prior.schedule
    for low, high in itertools.pairwise(times):
        if torch.equal(low, high):
            continue
        eps = guided_eps(prior, schedule.alpha(low, xbar) * xbar, low, conditions, scale)
        xbar = xbar + (schedule.sbar(high, xbar) - schedule.sbar(low, xbar)) * eps
    return xbar
