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


def uniform(t_min: float = 0.02, t_max: float = 0.98) -> TimeRule:
    """t ~ U[t_min, t_max], one draw for each image (Poole et al. 2022, section 3.1)."""

    def rule(query: Query, batch: int) -> Time:
        return t_min + (t_max - t_min) * torch.rand(batch, generator=query.rng, dtype=torch.float64)

    return rule


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
