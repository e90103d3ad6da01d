"""Diffusion times: rules t(progress) for a batch, second times, and settings that change over the run."""

from __future__ import annotations

from collections.abc import Callable

import torch

from scoredistill.contracts import Query
from scoredistill.methods.distillation import SecondTimeRule, Time, TimeRule
from scoredistill.schedule import NoiseSchedule

Scheduled = float | Callable[[float], float]
"""A setting that may depend on the progress of the run in [0, 1)."""


def at_progress(setting: Scheduled, progress: float) -> float:
    """The value of a scheduled setting at `progress`."""
    return setting(progress) if callable(setting) else setting


def step_at(before: float, after: float, when: float) -> Scheduled:
    """`before` until the share `when` in [0, 1] of the run, `after` from there on."""
    return lambda progress: before if progress < when else after


def linear(start: float, end: float, until: float = 1.0) -> Scheduled:
    """From `start` to `end` over the first `until` in [0, 1] of the run, `end` from there on."""
    return lambda progress: end if progress >= until else start + (end - start) * progress / until


def draw(query: Query, batch: int) -> Time:
    """U[0, 1), one draw for each image; views that the prior denoises jointly share one draw, and so their t.

    ValueError unless `batch` images make whole groups of the prior's views.
    """
    views = query.prior.views
    if batch % views:
        raise ValueError(f"this prior denoises {views} views jointly, got {batch} images: take a multiple of {views}")
    return torch.rand(batch // views, generator=query.rng, dtype=torch.float64).repeat_interleave(views)


def uniform(t_min: Scheduled = 0.02, t_max: Scheduled = 0.98) -> TimeRule:
    """t ~ U[t_min, t_max], sampled for each image (Poole et al. 2023, section 3.1); the range may move."""

    def rule(query: Query, batch: int) -> Time:
        low, high = at_progress(t_min, query.progress), at_progress(t_max, query.progress)
        return low + (high - low) * draw(query, batch)

    return rule


def with_noise(schedule: NoiseSchedule, t: Time) -> Time:
    """The tabulated times of `t`, never one at which images have no noise: from them none can be inferred."""
    return schedule.snap(t).clamp(min=float(schedule.sigmas[0] == 0) / schedule.steps)


def shared(rule: TimeRule) -> TimeRule:
    """The same t for the whole batch, one draw of `rule` (ISM's official code)."""
    return lambda query, batch: rule(query, query.prior.views)[:1].expand(batch)


def annealed(t_max: float = 0.98, t_min: float = 0.25, law: Callable[[float], float] = lambda share: share) -> TimeRule:
    """t = t_max - (t_max - t_min) law(progress), the same for every image; linear (SDI) or `math.sqrt` (HiFA, DSD)."""

    def rule(query: Query, batch: int) -> Time:
        return torch.full((batch,), t_max - (t_max - t_min) * law(query.progress), dtype=torch.float64)

    return rule


def proportional(share: float, t_min: Scheduled, *, random: bool = False, distinct: bool = False) -> SecondTimeRule:
    """r = t + min(share (t - t_min), T - t), with the distance times U[0, 1) if `random` (ASD, DSD).

    T is the last time of the table. `distinct` makes the distance one table entry at least, but for t = T, where r = t
    even then. `share` 0 is r = t.
    """

    def rule(query: Query, t: Time) -> Time:
        steps = query.prior.schedule.steps
        distance = share * (t - at_progress(t_min, query.progress)).clamp(min=0)
        distance = distance.minimum((1 - 1 / steps - t).clamp(min=0))
        if random:
            distance = distance * draw(query, len(t))
        return t + (distance.clamp(min=1 / steps) if distinct and share else distance)

    return rule
