"""Targets and references: the guided noise prediction, and what is subtracted from it.

scale   guidance, canonical everywhere: eps_null + scale (eps_text - eps_null); 0 unconditional, 1 conditional
"""

from __future__ import annotations

from torch import Tensor

from scoredistill.contracts import Conditions, Prior, Query
from scoredistill.methods.distillation import Noised, TargetRule, Time, X

_CLAMP = 1e-6  # of |e_pos|^2 in Perp-Neg, as in the official code


def guided(scale: float) -> TargetRule:
    """The target eps_g(x_t, t, y) of guidance scale `scale` (Ho and Salimans 2022; Lukoianov et al. 2024, eq. 3)."""

    def rule(query: Query, noised: Noised) -> X:
        return guided_eps(query.prior, noised.x_t, noised.t, query.conditions, scale)

    return rule


def guided_eps(prior: Prior, x_t: X, t: Time, conditions: Conditions, scale: float) -> X:
    """eps_null + scale (e_pos + sum_i w_i perp(e_i, e_pos)), with e = eps - eps_null.

    Perp-Neg terms (Armandpour et al. 2023) only where the conditions carry them; rows that the scale multiplies by
    zero are not computed. One call of the prior, x_t [B C h w], t [B].
    """
    if scale == 0:
        return prior.eps(x_t, t, conditions.null)[0]
    if scale == 1 and not conditions.perpendicular:
        return prior.eps(x_t, t, conditions.text)[0]
    negatives = [condition for condition, _ in conditions.perpendicular]
    null, text, *views = prior.eps(x_t, t, conditions.null, conditions.text, *negatives)
    direction = positive = text - null
    for view, (_, weight) in zip(views, conditions.perpendicular, strict=True):
        direction = direction + _over(weight, positive) * perpendicular(view - null, positive)
    return null + scale * direction


def perpendicular(a: X, b: X) -> X:
    """The part of `a` perpendicular to `b`, a - (<a, b> / <b, b>) b, inner products over each sample alone."""
    share = (a * b).flatten(1).sum(1) / (b * b).flatten(1).sum(1).clamp(min=_CLAMP)
    return a - _over(share, b) * b


def put_in(query: Query, noised: Noised) -> X:
    """The reference of SDS and SDI: the very noise that was put into x."""
    return noised.kappa


def _over(per_sample: Tensor, like: Tensor) -> Tensor:
    return per_sample.to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))
