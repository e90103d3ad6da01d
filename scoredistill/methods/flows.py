"""Methods of 2025 and 2026 that follow a probability flow. Each reads like its equation."""

from __future__ import annotations

import math

import torch

from scoredistill.contracts import Method, Query
from scoredistill.methods import noise, scores, time
from scoredistill.methods.distillation import (
    Distillation,
    Noised,
    NoiseRule,
    Reduction,
    TargetRule,
    Time,
    WeightRule,
    X,
)
from scoredistill.methods.scores import guided_eps

_CLAMP = 1e-8  # of the mean |eps_g - kappa|, as in CFD's official code


def cfd(
    *,
    scale: float = 8.0,
    churn: float = 0.0,
    normalize: bool = True,
    t_min: float = 0.02,
    t_max: float = 0.98,
    weight: WeightRule = time.constant,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Consistent Flow Distillation: grad = w(t) [eps_g(x_t, t, y) - kappa] / mean |eps_g - kappa|.

    Yan et al. 2025, official code (configs/cfd/2d.yaml): t falls linearly and kappa is kept for good, the clean-flow
    ODE; with `churn` = gamma, kappa <- sqrt(1 - gamma) kappa + sqrt(gamma) N(0, I) at every step, its SDE. `normalize`
    is the code's weight "dmd". Differs from the paper: views see one map of noise by their direction (`world`), which
    that code also offers, where the paper renders noise that lies on the surface.
    """
    return Distillation(
        time=time.annealed(t_max, t_min),
        noise=world(churn),
        target=scores.guided(scale),
        reference=evened if normalize else scores.put_in,
        weight=weight,
        reduction=reduction,
    )


def pfd(
    *,
    scale: float = 7.5,
    inversion_scale: float = -6.5,
    steps_per_unit: float = 10.0,
    solver_steps_per_unit: float = 10.0,
    t_min: float = 0.02,
    t_max: float = 0.98,
    t_max_late: float = 0.7,
    weight: WeightRule = time.sbar,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Probability-Flow Distillation: grad = x - x0_hat, the end of the ODE solved up from x to t and down again.

    Ramanan and Rajagopalan 2026: up by DDIM inversion (`inversion_scale` = 1 - scale), down under guidance `scale`;
    SDI takes the way down in a single step. t ~ U[t_min, t_max]. In the master form the target is the mean prediction
    on the way down and w = sbar. Differs from the paper: both ways by DDIM where theirs goes down by DPM++; the numbers
    of steps, and t_max falling linearly to `t_max_late`, are ours, the paper's text having been out of reach.
    """
    return Distillation(
        time=time.uniform(t_min, time.linear(t_max, t_max_late)),
        noise=noise.inversion(inversion_scale, steps_per_unit, entropy=0.0),
        target=solved(scale, solver_steps_per_unit),
        reference=scores.put_in,
        weight=weight,
        reduction=reduction,
    )


def solved(scale: float, steps_per_unit: float) -> TargetRule:
    """The target (x_t / alpha - x0_hat) / sbar, x0_hat from DDIM down from x_t in int(steps_per_unit t) queries.

    It is the mean of the predictions on the way, weighted by their steps in sbar; one query gives eps_g itself.
    """

    def rule(query: Query, noised: Noised) -> X:
        prior, schedule, x_t = query.prior, query.prior.schedule, noised.x_t
        steps = (steps_per_unit * noised.t + 1e-6).long().clamp(min=1)
        _, *rest, top = noise.levels(prior, noised.t, steps)
        t, eps = top, guided_eps(prior, x_t, top, query.conditions, scale)
        for s in reversed(rest):
            x_t = schedule.move(x_t, eps, t, s)
            t, eps = s, guided_eps(prior, x_t, s, query.conditions, scale)
        return schedule.noise_between(schedule.clean(x_t, eps, t), noised.x_t, noised.t)

    return rule


def evened(query: Query, noised: Noised, target: X) -> X:
    """The reference that leaves target - reference = (target - kappa) / mean |target - kappa|, mean over each image."""
    difference = target - noised.kappa
    size = difference.abs().flatten(1).mean(1).reshape(-1, 1, 1, 1)
    return target - difference / (size + _CLAMP)


def world(churn: float) -> NoiseRule:
    """The asset's noise, for views a window of its map that moves with their direction; renewed by `churn` a step.

    Yan et al. 2024 (Flow Score Distillation), the "worldmap" of CFD's official code: a map [C 2h 2w] of the whole
    turn, of which a view at azimuth a and elevation e shows [h w] from column 2w a / 2 pi and row -h e / pi.
    """
    if not 0 <= churn <= 1:
        raise ValueError(f"churn is a share of fresh noise in [0, 1], got {churn:g}")

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        whole = query.memory.get("world")
        if whole is None:
            turn = None if query.cameras is None else x.repeat(1, 1, 2, 2)
            whole = noise.asset_noise(query, x) if turn is None else noise.asset_noise(query, turn)[:1]
        elif churn:
            whole = math.sqrt(1 - churn) * whole + math.sqrt(churn) * noise.gaussian(whole, query.rng)
        query.memory["world"] = whole
        if query.cameras is None:
            return whole
        h, w = x.shape[-2:]
        columns = (query.cameras.azimuth * (w / math.pi)).round().long() % (2 * w)
        rows = (-query.cameras.elevation * (h / math.pi)).round().long() % h
        moves = zip(rows.tolist(), columns.tolist(), strict=True)
        return torch.cat([whole.roll((-row, -column), (-2, -1))[..., :h, :w] for row, column in moves])

    return rule
