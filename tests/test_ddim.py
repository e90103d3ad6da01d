"""DDIM sampling against the closed form of a Gaussian's probability-flow ODE (METHODS, I-6)."""

from __future__ import annotations

import itertools

import pytest
import torch
from conftest import SHAPE, randn

from scoredistill import schedule
from scoredistill.contracts import Prompt
from scoredistill.methods.ddim import sample
from scoredistill.priors.analytic import AnalyticPrior, gaussian

STD = 0.6
LEVELS = schedule.karras(sbar_min=0.002, sbar_max=80.0)


def draw(prior: AnalyticPrior, x_T: torch.Tensor, steps: int, scale: float = 1.0) -> torch.Tensor:
    conditions = prior.conditions(Prompt("a"), None, len(x_T))
    return sample(prior, x_T, conditions, scale=scale, steps=steps)


@pytest.fixture
def prior() -> AnalyticPrior:
    return AnalyticPrior(gaussian(randn(*SHAPE, seed=7), STD), gaussian(randn(*SHAPE, seed=8), 1.1), LEVELS)


def test_each_step_multiplies_the_distance_from_the_mean(prior: AnalyticPrior) -> None:
    """x_s - mu = (x_t - mu) (1 + (sbar_s - sbar_t) sbar_t / (std^2 + sbar_t^2)), and at the end sbar_s = 0."""
    steps, x_T = 12, 80 * randn(2, *SHAPE)
    sbar = [float(LEVELS.sigmas[min(1000 * k // steps, 999)]) for k in range(steps, 0, -1)] + [0.0]
    factor = 1.0
    for here, there in itertools.pairwise(sbar):
        factor *= 1 + (there - here) * here / (STD**2 + here**2)
    mean = prior.text.means[0]
    assert torch.allclose(draw(prior, x_T, steps), mean + factor * (x_T - mean), rtol=1e-10, atol=1e-12)


def test_many_steps_reach_the_ode(prior: AnalyticPrior) -> None:
    """The exact flow preserves (x - mu) / sqrt(std^2 + sbar^2); first order, so half the step is half the error."""
    x_T, mean = 80 * randn(2, *SHAPE), prior.text.means[0]
    exact = mean + (x_T - mean) * STD / (STD**2 + 80.0**2) ** 0.5
    errors = [float((draw(prior, x_T, steps) - exact).abs().max()) for steps in (50, 100, 200)]
    assert errors[2] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.15)


def test_guidance_is_canonical(prior: AnalyticPrior) -> None:
    x_T = 80 * randn(2, *SHAPE)
    null = AnalyticPrior(prior.null, prior.null, LEVELS)
    assert torch.allclose(draw(prior, x_T, 9, scale=0.0), draw(null, x_T, 9), atol=1e-12)
    assert not torch.allclose(draw(prior, x_T, 9, scale=0.0), draw(prior, x_T, 9), atol=1e-3)


def test_no_steps_is_an_error(prior: AnalyticPrior) -> None:
    with pytest.raises(ValueError, match="at least one step"):
        draw(prior, randn(1, *SHAPE), 0)
