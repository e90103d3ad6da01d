"""Which noise to put into x: drawn, kept for good or from the last step, or inferred from the image.

kappa   noise, unit scale   [B C h w]
t, r    the level kappa is added at, and the one it is found at (for SDI t + tau, for ISM t - delta)
xbar    rescaled noisy image x_t / alpha, moving up from the lowest level
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Conditions, Prior, Query
from scoredistill.methods.distillation import NoiseRule, Time, X
from scoredistill.methods.scores import guided_eps

_APART = 500_000  # from the seeds of the loop's dice, which would draw the same numbers


def fresh(query: Query, x: X, t: Time, r: Time) -> X:
    """kappa ~ N(0, I), new at every step (Poole et al. 2022)."""
    return gaussian(x, query.rng)


def asset_noise(query: Query, x: X) -> X:
    """eps* ~ N(0, I) of the asset, drawn from the seed `query.asset`: at every step the same.

    Flat images are assets of their own, one noise a row; all views of a scene share one, or where the prior denoises
    several views jointly, one for each of these.
    """
    rng = torch.Generator().manual_seed(1_000_003 * query.asset + _APART)
    if query.cameras is None:
        return gaussian(x, rng)
    views = query.prior.views
    return gaussian(x[:views], rng).repeat(len(x) // views, 1, 1, 1)


def fixed(query: Query, x: X, t: Time, r: Time) -> X:
    """kappa = eps*, the asset's own noise (Wu et al. 2024; the linear approximation in DSD's ablation)."""
    return asset_noise(query, x)


def cached(query: Query, x: X, t: Time, r: Time) -> X:
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


def inversion(scale: float = -7.5, steps_per_unit: float = 10.0, entropy: float = 0.3, start: float = 0.0) -> NoiseRule:
    """kappa = DDIM-inversion(x, start -> r) + entropy sigma eps_H (Lukoianov et al. 2024, eq. 11 and algorithm 2).

    Args: guidance `scale` of the inversion (negative works best in 3-D, their fig. 10); int(steps_per_unit t) steps,
    at least one; standard deviation `entropy` sigma of the added noise; least time `start` at which the prior is asked,
    for priors whose lowest level holds no noise that could be read. Differs from the official code: kappa is re-noised
    to level t, as the paper says (METHODS D1).
    """

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        steps = (steps_per_unit * t + 1e-6).long().clamp(min=1)
        kappa = invert(query.prior, x, levels(query.prior, r, steps, start), query.conditions, scale)
        if entropy == 0:
            return kappa
        return kappa + entropy * query.prior.schedule.sigma(r, x) * gaussian(x, query.rng)

    return rule


def mislabeled(rule: NoiseRule) -> NoiseRule:
    """The kappa that makes x_t the noisy image of level r, about which the prior is then asked as if it were of t.

    A slip of SDI's official code (METHODS B1): its input is off scale by alpha_r / alpha_t, 0.57 at t = .9, r = t + .1.
    """

    def slipped(query: Query, x: X, t: Time, r: Time) -> X:
        schedule = query.prior.schedule
        return schedule.noise_between(x, schedule.diffuse(x, rule(query, x, t, r), r), t)

    return slipped


def fixed_point(steps: int = 10, scale: float = 7.5) -> NoiseRule:
    """kappa <- eps_g(alpha x + sigma kappa, t), `steps` times from N(0, I) (Lukoianov et al. 2024, eq. 8 and fig. 9).

    Contracts without guidance, diverges with it (METHODS I-26).
    """

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        kappa = gaussian(x, query.rng)
        for _ in range(steps):
            x_t = query.prior.schedule.diffuse(x, kappa, t)
            kappa = guided_eps(query.prior, x_t, t, query.conditions, scale)
        return kappa

    return rule


def sgd(steps: int = 10, rate: float = 1e-2, scale: float = 7.5) -> NoiseRule:
    """kappa <- kappa - rate d/dkappa mean (kappa - eps_g(alpha x + sigma kappa, t))^2, `steps` times from N(0, I).

    Lukoianov et al. 2024, fig. 9, who do not state the rate; the mean is over each image. The prior is differentiated.
    """

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        kappa = gaussian(x, query.rng)
        for _ in range(steps):
            with torch.enable_grad():
                kappa.requires_grad_()
                x_t = query.prior.schedule.diffuse(x, kappa, t)
                residual = kappa - guided_eps(query.prior, x_t, t, query.conditions, scale)
                (slope,) = torch.autograd.grad(residual.square().flatten(1).mean(1).sum(), kappa)
            kappa = kappa.detach() - rate * slope
        return kappa

    return rule


def interval(scale: float = 0.0, stride: float = 0.2, start_noise: float | None = None) -> NoiseRule:
    """The kappa of the point x_t that DDIM reaches from x in strides 0 -> stride -> ... -> r, and one step r -> t.

    Liang et al. 2024 (ISM). The direction eps_r of that last step, ISM's reference, is left in the query's memory as
    "interval". Guidance `scale` leads away from the empty prompt. The official code starts from alpha x + sigma n at
    the lowest level, n ~ N(0, I) + `start_noise` N(0, 1) for each channel of the batch; None starts from x.
    """

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        prior, schedule = query.prior, query.prior.schedule
        conditions = replace(query.conditions, null=query.conditions.empty)
        times = strides(prior, r, stride)
        xbar = x
        if start_noise is not None:
            n = gaussian(x, query.rng) + start_noise * gaussian(x[:1, :, :1, :1], query.rng)
            xbar = x + schedule.sbar(times[0], x) * n
        x_r = schedule.alpha(r, x) * climb(prior, xbar, times, conditions, scale)
        query.memory["interval"] = guided_eps(prior, x_r, r, conditions, scale)
        return schedule.noise_between(x, schedule.move(x_r, query.memory["interval"], r, t), t)

    return rule


def strides(prior: Prior, until: Time, stride: float) -> Float[Tensor, "K B"]:
    """Ascending times from the lowest level in steps of `stride` to `until` [B], the last step shortened."""
    if stride <= 0:
        raise ValueError(f"an inversion needs a positive stride, got {stride:g}")
    steps = torch.arange(math.ceil(float(until.max()) / stride - 1e-9) + 1, dtype=torch.float64)
    return torch.stack([prior.schedule.snap(t.minimum(until)) for t in stride * steps])


def levels(prior: Prior, until: Time, steps: Tensor, start: float = 0.0) -> Float[Tensor, "K B"]:
    """Ascending times from `start` to `until` [B], evenly spaced in `steps` [B] steps for each image.

    An image with fewer steps than its neighbors waits at its last level, where a DDIM step is the identity.
    """
    share = torch.arange(int(steps.max()) + 1, dtype=torch.float64)[:, None] / steps
    low = until.clamp(max=start)
    return torch.stack([prior.schedule.snap(low + (until - low) * part) for part in share.clamp(max=1)])


def invert(prior: Prior, x: X, times: Float[Tensor, "K B"], conditions: Conditions, scale: float) -> X:
    """DDIM inversion of x along ascending `times`; the network is queried at the source level of each step.

    xbar <- xbar + (sbar_hi - sbar_lo) eps_g(alpha_lo xbar, lo);  kappa = (xbar - x) / sbar_end
    (Lukoianov et al. 2024, eq. 2 run upwards). kappa is thus the sbar-weighted mean of the predictions on the way.
    """
    return (climb(prior, x, times, conditions, scale) - x) / prior.schedule.sbar(times[-1], x)


def climb(prior: Prior, xbar: X, times: Float[Tensor, "K B"], conditions: Conditions, scale: float) -> X:
    """The rescaled image at times[-1] that DDIM reaches from `xbar` at times[0], one step for each further time."""
    schedule = prior.schedule
    for low, high in itertools.pairwise(times):
        eps = guided_eps(prior, schedule.alpha(low, xbar) * xbar, low, conditions, scale)
        xbar = xbar + (schedule.sbar(high, xbar) - schedule.sbar(low, xbar)) * eps
    return xbar


def gaussian(like: Tensor, rng: torch.Generator) -> Tensor:
    """N(0, I) of the shape of `like`, drawn on the CPU so that every device sees the same numbers."""
    return torch.randn(like.shape, generator=rng, dtype=like.dtype).to(like.device)
