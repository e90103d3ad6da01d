"""Targets and references: the guided noise prediction, and what is subtracted from it.

scale   guidance, canonical everywhere: eps_null + scale (eps_text - eps_null); 0 unconditional, 1 conditional
"""

from __future__ import annotations

import torch
from torch import Tensor

from scoredistill.contracts import Condition, Conditions, Learner, Prior, Query
from scoredistill.methods.distillation import Noised, ReferenceRule, TargetRule, Time, X
from scoredistill.methods.time import Course, at

_CLAMP = 1e-6  # of |e_pos|^2 in Perp-Neg, as in the official code
_DISTILLED = "this prior has no text-free score, since guidance is distilled into it"


def guided(scale: Course) -> TargetRule:
    """The target eps_g(x_t, t, y) of guidance scale `scale` (Ho and Salimans 2022; Lukoianov et al. 2024, eq. 3)."""

    def rule(query: Query, noised: Noised) -> X:
        return guided_eps(query.prior, noised.x_t, noised.t, query.conditions, at(scale, query.progress))

    return rule


def guided_eps(prior: Prior, x_t: X, t: Time, conditions: Conditions, scale: float) -> X:
    """eps_null + scale (e_pos + sum_i w_i perp(e_i, e_pos)), with e = eps - eps_null.

    Perp-Neg terms (Armandpour et al. 2023) only where the conditions carry them; rows that the scale multiplies by
    zero are not computed. One call of the prior, x_t [B C h w], t [B]. ValueError for a prior without a text-free
    score, unless `scale` is 1.
    """
    if scale == 1 and not conditions.perpendicular:
        return prior.eps(x_t, t, conditions.text)[0]
    if conditions.null is None:
        raise ValueError(f"{_DISTILLED}, so guidance scale {scale:g} cannot be had: take scale 1")
    if scale == 0:
        return prior.eps(x_t, t, conditions.null)[0]
    direction, null = direction_beside(prior, x_t, t, conditions, conditions.null)
    return null + scale * direction


def direction_beside(prior: Prior, x_t: X, t: Time, conditions: Conditions, *free: Condition) -> tuple[X, ...]:
    """(e_pos + sum_i w_i perp(e_i, e_pos), *text-free scores), with e = eps - the first of the text-free scores.

    One call of the prior, in which a condition given twice is computed once. ValueError for a prior without text-free
    scores.
    """
    if any(condition is None for condition in free):
        raise ValueError(f"{_DISTILLED}, which this method needs: take sds with scale 1")
    rows = [*free, conditions.text, *(view for view, _ in conditions.perpendicular)]
    distinct = {id(condition): condition for condition in rows}
    eps = dict(zip(distinct, prior.eps(x_t, t, *distinct.values()), strict=True))
    null = eps[id(free[0])]
    direction = positive = eps[id(conditions.text)] - null
    for view, weight in conditions.perpendicular:
        direction = direction + _over(weight, positive) * perpendicular(eps[id(view)] - null, positive)
    return direction, *(eps[id(condition)] for condition in free)


def rescaled(scale: Course, share: float) -> TargetRule:
    """The target whose image is D_g (1 - share + share std(D_c) / std(D_g)): guidance without its excess of contrast.

    Shi et al. 2023 (MVDream); D_g and D_c are the images denoised in one step with guidance and without, deviations
    are over all views that the prior denoises jointly.
    """

    def rule(query: Query, noised: Noised) -> X:
        schedule, x_t, t = query.prior.schedule, noised.x_t, noised.t
        direction, null = direction_beside(query.prior, x_t, t, query.conditions, query.conditions.null)
        plain = schedule.clean(x_t, null + direction, t)
        guided = schedule.clean(x_t, null + at(scale, query.progress) * direction, t)
        wide, wider = (_over(x.reshape(-1, query.prior.views * x[0].numel()).std(1), x) for x in (plain, guided))
        factor = (1 - share + share * wide / wider).repeat_interleave(query.prior.views, 0)
        return schedule.noise_between(guided * factor, x_t, t)

    return rule


def noise_free(scale: float, switch: float) -> TargetRule:
    """The target delta_D + scale (eps_text - eps_empty); delta_D = eps_empty, less eps_negative where t >= switch.

    Katzir et al. 2024: at large t most of eps_empty is noise, of which eps_negative holds as much.
    """

    def rule(query: Query, noised: Noised) -> X:
        free = query.conditions.empty, query.conditions.null
        direction, empty, negative = direction_beside(query.prior, noised.x_t, noised.t, query.conditions, *free)
        return empty - _over(noised.t >= switch, empty) * negative + scale * direction

    return rule


def classifier(share: Course) -> TargetRule:
    """The target eps_text - share eps_negative - (1 - share) eps_empty: coefficients that sum to zero (Yu et al. 2024).

    Without a share of the negative prompt it is the score of the implicit classifier, eps_text - eps_empty.
    """

    def rule(query: Query, noised: Noised) -> X:
        conditions, part = query.conditions, at(share, query.progress)
        free = conditions.empty, conditions.null if part else conditions.empty
        direction, empty, negative = direction_beside(query.prior, noised.x_t, noised.t, conditions, *free)
        return direction + part * (empty - negative)

    return rule


def perpendicular(a: X, b: X) -> X:
    """The part of `a` perpendicular to `b`, a - (<a, b> / <b, b>) b, inner products over each sample alone."""
    share = (a * b).flatten(1).sum(1) / (b * b).flatten(1).sum(1).clamp(min=_CLAMP)
    return a - _over(share, b) * b


def put_in(query: Query, noised: Noised, target: X) -> X:
    """The reference of SDS and SDI: the very noise that was put into x."""
    return noised.kappa


def nothing(query: Query, noised: Noised, target: X) -> X:
    """The reference of NFSD and CSD: zero, since their targets hold no noise."""
    return torch.zeros_like(target)


def learned(learner: Learner, lam: float = 0.0) -> ReferenceRule:
    """The reference lam eps_phi(x_t, t) + (1 - lam) eps_phi(x_t, t, camera), phi trained on the renders.

    Wang et al. 2024 (ESD); lam = 0 is Wang et al. 2023 (VSD). A branch that lam multiplies by zero is not computed.
    """

    def rule(query: Query, noised: Noised, target: X) -> X:
        def phi(camera: bool) -> X:
            return learner.eps(query, noised.x_t, noised.t, camera=camera)

        if lam in (0, 1):
            return phi(camera=lam == 0)
        return lam * phi(camera=False) + (1 - lam) * phi(camera=True)

    return rule


def _over(per_sample: Tensor, like: Tensor) -> Tensor:
    return per_sample.to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))
