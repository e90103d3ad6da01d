"""Shared truths: analytic priors in float64."""

from __future__ import annotations

import pytest
import torch

from scoredistill import schedule
from scoredistill.contracts import Conditions, Prompt, Query
from scoredistill.priors.analytic import AnalyticPrior, Mixture

SHAPE = (2, 3, 3)


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    torch.manual_seed(0)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(count: int, std: float, seed: int) -> Mixture:
    stds = std * (1 + 0.2 * torch.arange(count, dtype=torch.float64))
    weights = torch.softmax(randn(count, seed=seed + 1), 0)
    return Mixture(randn(count, *SHAPE, seed=seed), stds, weights)


def analytic(noise_schedule: schedule.NoiseSchedule | None = None, prediction: str = "eps") -> AnalyticPrior:
    """A three-mode conditional prior beside a wider, four-mode unconditional one."""
    levels = noise_schedule or schedule.scaled_linear()
    return AnalyticPrior(mixture(3, 0.4, 10), mixture(4, 0.9, 20), levels, prediction)


def query(prior: AnalyticPrior, progress: float = 0.3, seed: int = 0, count: int = 2) -> Query:
    conditions: Conditions = prior.conditions(Prompt("a"), None, count)
    return Query(prior, conditions, progress, torch.Generator().manual_seed(seed))


def times(value: float, count: int = 2) -> torch.Tensor:
    return torch.full((count,), value, dtype=torch.float64)
