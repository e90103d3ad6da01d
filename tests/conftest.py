"""Shared truths: analytic priors in float64; shared means: commands at toy size."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for all processes of the tests: workers share the cores
# isort: split
import pytest
import torch
from tiny import fast, prior_file

from scoredistill import schedule
from scoredistill.contracts import Conditions, Prompt, Query
from scoredistill.priors.analytic import AnalyticPrior, Mixture
from scoredistill.recipes.presets import PRESETS
from scoredistill.runs import renders

SHAPE = (2, 3, 3)


@pytest.fixture(scope="module")
def toy_presets() -> Iterator[None]:
    """The fast preset at toy size, for whole commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "fast", fast)
        patch.setattr(renders, "RESOLUTION", 32)
        yield


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of an untrained prior's weights."""
    return str(prior_file(tmp_path_factory.mktemp("weights")))


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


class AsColors:
    """A prior of two channels that takes the red and green of images as they are."""

    def __init__(self, prior: Any) -> None:
        self.prior = prior

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def encode(self, rgb: torch.Tensor, rng: torch.Generator | None = None) -> torch.Tensor:
        return rgb[:, :2]


def query(prior: AnalyticPrior, progress: float = 0.3, seed: int = 0, count: int = 2) -> Query:
    conditions: Conditions = prior.conditions(Prompt("a"), None, count)
    return Query(prior, conditions, progress, torch.Generator().manual_seed(seed))


def times(value: float, count: int = 2) -> torch.Tensor:
    return torch.full((count,), value, dtype=torch.float64)
