"""Weights w(t) of the difference of noise predictions.

w = sbar regresses x onto its own one-step denoised image; w = sigma^2 is threestudio's SDS; they are related by
sigma^2 = sbar alpha sigma.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from scoredistill.methods.distillation import Time, WeightRule
from scoredistill.schedule import NoiseSchedule

Weight = Literal["sbar", "sigma_squared", "constant"]


def sbar(schedule: NoiseSchedule, t: Time, like: Tensor) -> Tensor:
    """w = sigma / alpha (Lukoianov et al. 2024, eq. 4)."""
    return schedule.sbar(t, like)


def sigma_squared(schedule: NoiseSchedule, t: Time, like: Tensor) -> Tensor:
    """w = sigma^2 = 1 - abar (threestudio's "sds" weighting)."""
    return schedule.sigma(t, like) ** 2


def constant(schedule: NoiseSchedule, t: Time, like: Tensor) -> Tensor:
    """w = 1 (Wang et al. 2023, SJC in noise form)."""
    return torch.ones_like(schedule.sigma(t, like))


WEIGHTS: dict[Weight, WeightRule] = {"sbar": sbar, "sigma_squared": sigma_squared, "constant": constant}
