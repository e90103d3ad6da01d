"""Exact inputs for tests of methods: analytic priors with a negative prompt and a side view, and a learned score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import randn

from scoredistill import schedule
from scoredistill.contracts import Conditions, Distilled, Method, Prompt, Query
from scoredistill.methods.catalogue import METHODS
from scoredistill.priors.analytic import AnalyticPrior, Mixture, gaussian

LEVELS = schedule.scaled_linear()
SHAPE = (3, 4, 4)
MANY = 20_000


def mixture(count: int, std: float, seed: int) -> Mixture:
    weights = torch.softmax(randn(count, seed=seed + 1), 0)
    return Mixture(randn(count, *SHAPE, seed=seed), std * (1 + 0.2 * torch.arange(count).double()), weights)


TEXT, NULL, NEGATIVE, SIDE = mixture(3, 0.4, 10), mixture(4, 0.9, 20), mixture(2, 0.7, 30), mixture(2, 0.5, 40)


def analytic(prediction: str = "eps") -> AnalyticPrior:
    return AnalyticPrior(TEXT, NULL, LEVELS, prediction)


def images(count: int = 2) -> torch.Tensor:
    return randn(count, *SHAPE, seed=1)


def conditions_of(prior: AnalyticPrior, count: int = 2, **changes: Any) -> Conditions:
    return replace(prior.conditions(Prompt("a"), None, count), **changes)


def distill(
    method: Method, x: torch.Tensor, prior: AnalyticPrior | None = None, progress: float = 0.3, **changes: Any
) -> Distilled:
    """One evaluation of a method from a fresh generator; the render is x as well."""
    prior = prior or analytic()
    conditions = conditions_of(prior, len(x), **changes)
    return method(Query(prior, conditions, progress, torch.Generator().manual_seed(0), rgb=x), x)


class Renders:
    """An exact score of the renders: of each alone with its camera, of N(mean, std^2) without cameras."""

    def __init__(self, mean: torch.Tensor, std: float = 0.5):
        self.marginal = gaussian(mean, std)
        self.cameras: list[bool] = []

    def eps(self, query: Query, x_t: torch.Tensor, t: torch.Tensor, *, camera: bool) -> torch.Tensor:
        levels = query.prior.schedule
        self.cameras.append(camera)
        if camera:
            assert query.rgb is not None
            return (x_t - levels.alpha(t, x_t) * query.rgb) / levels.sigma(t, x_t)
        return self.marginal.eps(x_t / levels.alpha(t, x_t), levels.sbar(t, x_t))

    def loss(self, query: Query, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(())

    def param_groups(self) -> list[dict[str, Any]]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        assert not state


def build(name: str, **settings: Any) -> Method:
    """A method of the catalogue, with a learner where it needs one."""
    config = METHODS[name](**settings)
    return config.build(Renders(randn(*SHAPE, seed=5)) if config.needs_learner else None)


def check_mean_and_deviation(found: torch.Tensor, mean: torch.Tensor, deviation: float) -> None:
    """Means within five standard errors of `mean`, elementwise, and deviations within 1 % of `deviation`."""
    assert float((found.mean(0) - mean).abs().max()) < 5 * deviation / len(found) ** 0.5 + 1e-12
    assert float(found.std(0).mean()) == pytest.approx(deviation, rel=0.01, abs=1e-12)
