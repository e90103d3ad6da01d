"""Classifier-free guidance and Perp-Neg: noise predictions combined from those of several conditions.

scale   guidance scale, defined once: eps_null + scale (eps_text - eps_null); 0 unconditional, 1 conditional
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from scoredistill.contracts import Condition, Conditions, Prior, Query
from scoredistill.methods.distillation import Noisy, ReferenceRule, TargetRule, Time, X
from scoredistill.methods.timesteps import Scheduled, at_progress

_CLAMP = 1e-6  # of |e_pos|^2 in Perp-Neg, as in the official code
_DISTILLED = "this prior has no unconditional score, since guidance is distilled into it"


def guided(scale: Scheduled, perp_neg: float = 1.0) -> TargetRule:
    """The target eps_g(x_t, t, y), by classifier-free guidance (Ho and Salimans 2022; Lukoianov et al. 2024, eq. 3).

    `perp_neg` multiplies the Perp-Neg weights (ASD's official code halves them).
    """

    def rule(query: Query, noisy: Noisy) -> X:
        conditions = query.conditions if perp_neg == 1 else with_perp_neg(query.conditions, perp_neg)
        return guided_eps(query.prior, noisy.x_t, noisy.t, conditions, at_progress(scale, query.progress))

    return rule


def guided_at_second_time(scale: float, perp_neg: float = 1.0) -> ReferenceRule:
    """The reference eps_g(alpha x + sigma kappa, r): the same noise at the second time (ASD, DSD)."""

    def rule(query: Query, noisy: Noisy, target: X) -> X:
        x_r = query.prior.schedule.diffuse(noisy.x, noisy.kappa, noisy.r)
        conditions = query.conditions if perp_neg == 1 else with_perp_neg(query.conditions, perp_neg)
        return guided_eps(query.prior, x_r, noisy.r, conditions, scale)

    return rule


def guided_eps(prior: Prior, x_t: X, t: Time, conditions: Conditions, scale: float) -> X:
    """eps_null + scale (e_pos + sum_i w_i perp(e_i, e_pos)), with e = eps - eps_null.

    Perp-Neg terms (Armandpour et al. 2023) only where the conditions carry them; rows that the scale multiplies by
    zero are not computed. One call of the prior, x_t [B C h w], t [B]. ValueError for a prior without an
    unconditional score, unless `scale` is 1.
    """
    if scale == 1 and not conditions.perpendicular:
        return prior.eps(x_t, t, conditions.text)[0]
    if conditions.null is None:
        raise ValueError(f"{_DISTILLED}, so guidance scale {scale:g} is impossible: use scale 1")
    if scale == 0:
        return prior.eps(x_t, t, conditions.null)[0]
    direction, null = guidance_direction(prior, x_t, t, conditions, conditions.null)
    return null + scale * direction


def guidance_direction(prior: Prior, x_t: X, t: Time, conditions: Conditions, *free: Condition) -> tuple[X, ...]:
    """(e_pos + sum_i w_i perp(e_i, e_pos), *text-free scores), with e = eps - the first of the text-free scores.

    One call of the prior, in which a condition given twice is computed once. ValueError for a prior without text-free
    scores.
    """
    if any(condition is None for condition in free):
        raise ValueError(f"{_DISTILLED}, which this method needs: use sds with scale 1")
    rows = [*free, conditions.text, *(view for view, _ in conditions.perpendicular)]
    distinct = {id(condition): condition for condition in rows}
    eps = dict(zip(distinct, prior.eps(x_t, t, *distinct.values()), strict=True))
    null = eps[id(free[0])]
    direction = positive = eps[id(conditions.text)] - null
    for view, weight in conditions.perpendicular:
        direction = direction + per_image(weight, positive) * perpendicular(eps[id(view)] - null, positive)
    return direction, *(eps[id(condition)] for condition in free)


def perpendicular(a: X, b: X) -> X:
    """The part of `a` perpendicular to `b`, a - (<a, b> / <b, b>) b, inner products over each sample alone."""
    share = (a * b).flatten(1).sum(1) / (b * b).flatten(1).sum(1).clamp(min=_CLAMP)
    return a - per_image(share, b) * b


def with_perp_neg(conditions: Conditions, share: float) -> Conditions:
    """The conditions with `share` of their Perp-Neg weights; 0 leaves those terms out."""
    views = tuple((view, share * weight) for view, weight in conditions.perpendicular) if share else ()
    return replace(conditions, perpendicular=views)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """One number for each of B images, shaped to broadcast over `like` [B ...]."""
    return values.to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))
