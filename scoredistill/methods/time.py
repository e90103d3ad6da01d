"""When to query the prior, and how much its answer weighs: rules t(progress) and weights w(t).

Weights multiply eps differences: w = sbar regresses x onto its own one-step denoising, w = sigma^2 is threestudio's
SDS; they relate by sigma^2 = sbar alpha sigma.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scoredistill.contracts import Query
from scoredistill.methods.distillation import Time, TimeRule
from scoredistill.schedule import NoiseSchedule

Course = float | Callable[[float], float]
"""A setting that may depend on the run's progress in [0, 1)."""


def at(course: Course, progress: float) -> float:
    """The value of a course at `progress`."""
    return course(progress) if callable(course) else course


def falls(before: float, after: float, when: float) -> Course:
    """`before` until `when` in [0, 1] of the run, `after` from there on."""
    return lambda progress: before if progress < when else after


def linear(start: float, end: float, until: float = 1.0) -> Course:
    """From `start` to `end` over the first `until` in [0, 1] of the run, `end` from there on."""
    return lambda progress: end if progress >= until else start + (end - start) * progress / until


def draw(query: Query, batch: int) -> Time:
    """U[0, 1), one draw for each image; views that the prior denoises jointly share theirs, as they share their t.

    ValueError unless `batch` images make whole groups of the prior's views.
    """
    views = query.prior.views
    if batch % views:
        raise ValueError(f"this prior denoises {views} views jointly, got {batch} images: take a multiple of {views}")
    return torch.rand(batch // views, generator=query.rng, dtype=torch.float64).repeat_interleave(views)


def uniform(t_min: Course = 0.02, t_max: Course = 0.98) -> TimeRule:
    """t ~ U[t_min, t_max], one draw for each image (Poole et al. 2022, section 3.1); the window may move."""

    def rule(query: Query, batch: int) -> Time:
        low, high = at(t_min, query.progress), at(t_max, query.progress)
        return low + (high - low) * draw(query, batch)

    return rule


def shared(rule: TimeRule) -> TimeRule:
    """The same t for the whole batch, one draw of `rule` (ISM's official code)."""
    return lambda query, batch: rule(query, query.prior.views)[:1].expand(batch)


def annealed(t_max: float = 0.98, t_min: float = 0.25, law: Callable[[float], float] = lambda share: share) -> TimeRule:
    """t = t_max - (t_max - t_min) law(progress), the same for every image; linear (SDI) or `math.sqrt` (HiFA, DSD)."""

    def rule(query: Query, batch: int) -> Time:
        return torch.full((batch,), t_max - (t_max - t_min) * law(query.progress), dtype=torch.float64)

    return rule


def sbar(schedule: NoiseSchedule, t: Time, like: Tensor) -> Tensor:
    """w = sigma / alpha (Lukoianov et al. 2024, eq. 4)."""
    return schedule.sbar(t, like)


def sigma_squared(schedule: NoiseSchedule, t: Time, like: Tensor) -> Tensor:
    """w = sigma^2 = 1 - abar (threestudio's "sds" weighting)."""
    return schedule.sigma(t, like) ** 2


def constant(schedule: NoiseSchedule, t: Time, like: Tensor) -> Tensor:
    """w = 1 (Wang et al. 2023, SJC in noise form)."""
    return torch.ones_like(schedule.sigma(t, like))
