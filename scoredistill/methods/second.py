"""The second time r: rules where it stands, and references taken there.

t       diffusion time where the target is asked   [B] in [0, 1]
r       second time; beyond t for SDI, ASD and DSD, below it for ISM and Consistent3D
"""

from __future__ import annotations

from dataclasses import replace

import torch

from scoredistill.contracts import Conditions, Query
from scoredistill.methods.distillation import LevelRule, Noised, ReferenceRule, TargetRule, Time, TimeRule, X
from scoredistill.methods.scores import guided_eps
from scoredistill.methods.time import Course, at, draw


def ahead(tau: float) -> LevelRule:
    """r = t + U[0, tau], one draw for each image (SDI's step size; Lukoianov et al. 2024, algorithm 2)."""

    def rule(query: Query, t: Time) -> Time:
        return t + tau * draw(query, len(t))

    return rule


def beyond(share: float, t_min: Course, *, random: bool = False, apart: bool = False) -> LevelRule:
    """r = t + share (t - t_min), times U[0, 1) where `random` (ASD, DSD); `apart` keeps r one table entry above t.

    A prior's table ends before t = 1, so at its last entry r = t even then. `share` 0 is r = t.
    """

    def rule(query: Query, t: Time) -> Time:
        distance = share * (t - at(t_min, query.progress)).clamp(min=0)
        if random:
            distance = distance * draw(query, len(t))
        return t + (distance.clamp(min=1 / query.prior.schedule.steps) if apart and share else distance)

    return rule


def behind(delta: Course) -> LevelRule:
    """r = max(t - delta, 0), delta by progress (ISM)."""

    def rule(query: Query, t: Time) -> Time:
        return (t - at(delta, query.progress)).clamp(min=0)

    return rule


def course(lower: Course) -> LevelRule:
    """r = lower(progress), whatever t is (Consistent3D)."""

    def rule(query: Query, t: Time) -> Time:
        return torch.full_like(t, at(lower, query.progress))

    return rule


def above(lower: Course, gap_min: float, gap_max: float, top: float = 0.98) -> TimeRule:
    """t = min(lower(progress) + U[gap_min, gap_max], top), one draw for each image (Consistent3D)."""

    def rule(query: Query, batch: int) -> Time:
        gap = gap_min + (gap_max - gap_min) * draw(query, batch)
        return (at(lower, query.progress) + gap).clamp(max=top)

    return rule


def predicted(scale: float, perp_neg: float = 1.0) -> ReferenceRule:
    """The reference eps_g(alpha x + sigma kappa, r): the same noise at the second time (ASD, DSD).

    `scale` is canonical guidance; `perp_neg` multiplies the Perp-Neg weights, 0 leaves those terms out.
    """

    def rule(query: Query, noised: Noised, target: X) -> X:
        x_r = query.prior.schedule.diffuse(noised.x, noised.kappa, noised.r)
        return guided_eps(query.prior, x_r, noised.r, weakened(query.conditions, perp_neg), scale)

    return rule


def stepped(scale: Course) -> ReferenceRule:
    """The reference eps_g(x_r, r), x_r one DDIM step from x_t along the target (Wu et al. 2024)."""

    def rule(query: Query, noised: Noised, target: X) -> X:
        x_r = query.prior.schedule.move(noised.x_t, target, noised.t, noised.r)
        return guided_eps(query.prior, x_r, noised.r, query.conditions, at(scale, query.progress))

    return rule


def interval(query: Query, noised: Noised, target: X) -> X:
    """The reference of ISM: the direction of the last inversion step, which `noise.interval` left in the memory."""
    return query.memory["interval"]


def with_perp_neg(target: TargetRule, share: float) -> TargetRule:
    """A target under `share` of the Perp-Neg weights (ASD's official code halves them)."""

    def rule(query: Query, noised: Noised) -> X:
        return target(replace(query, conditions=weakened(query.conditions, share)), noised)

    return rule


def weakened(conditions: Conditions, share: float) -> Conditions:
    """The conditions with `share` of their Perp-Neg weights."""
    perpendicular = tuple((view, share * weight) for view, weight in conditions.perpendicular) if share else ()
    return replace(conditions, perpendicular=perpendicular)
