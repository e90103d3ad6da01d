"""SSD against closed forms: its two terms on Gaussians, the noise that it projects out, and where it changes terms."""

from __future__ import annotations

import pytest
import torch
from conftest import randn, times
from method_inputs import LEVELS, NEGATIVE, NULL, SHAPE, TEXT, analytic, distill, images
from test_schedule import close

from scoredistill.methods import timesteps
from scoredistill.methods.csd import CSD
from scoredistill.methods.ssd import SSD
from scoredistill.priors.analytic import AnalyticPrior, gaussian


def at(t: float) -> dict[str, float]:
    """Settings that pin the diffusion time."""
    return {"t_min": t, "t_max": t}


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """<a, b> of each image, shaped to broadcast over them."""
    return (a * b).flatten(1).sum(1).reshape(-1, 1, 1, 1)


def test_at_large_t_it_is_the_classifier_score() -> None:
    """The mode-disengaging term alone, which is CSD's gradient before its negative prompt has a share."""
    ssd, csd = SSD(weight="constant", **at(0.5)), CSD(negative_share=0.0, t_max_late=0.5, **at(0.5))
    assert close(distill(ssd, images()).grad, distill(csd, images()).grad)


@pytest.mark.parametrize("t", [0.03, 0.08])
def test_at_small_t_a_gaussian_pulls_to_its_mean_and_never_along_the_noise(t: float) -> None:
    """eps_text = sbar (x - mu + sbar eps) / (s^2 + sbar^2): without eps, x - mu remains, less its own share of eps."""
    mean, null, std, wide = randn(*SHAPE), randn(*SHAPE, seed=2), 0.6, 1.1
    prior, x = AnalyticPrior(gaussian(mean, std), gaussian(null, wide), LEVELS), images(3)
    answer = distill(SSD(**at(t)), x, prior)
    eps, sbar = answer.probe["kappa"], LEVELS.sbar(times(t, 3), x)
    xbar = x + sbar * eps
    h = sbar * ((xbar - mean) / (std**2 + sbar**2) - (xbar - null) / (wide**2 + sbar**2))
    u = x - mean - inner(x - mean, eps) / inner(eps, eps) * eps
    expected = LEVELS.sigma(times(t, 3), x) ** 2 * (inner(h, h) / inner(u, u)).sqrt() * u
    assert close(3 * answer.grad, expected)
    assert float(inner(answer.grad, eps).abs().max()) < 1e-12
    assert bool((inner(answer.grad, x - mean) > 0).all())


@pytest.mark.parametrize("t", [0.05, 0.6])
def test_both_terms_are_as_long_as_the_guidance_direction(t: float) -> None:
    prior, x = analytic(), images()
    answer = distill(SSD(weight="constant", **at(t)), x, prior, null=NEGATIVE)
    text, negative = prior.eps(answer.probe["x_t"], times(t), TEXT, NEGATIVE)
    assert close(inner(2 * answer.grad, 2 * answer.grad), inner(text - negative, text - negative))


def test_each_image_has_the_term_of_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    t = torch.tensor([0.099, 0.101], dtype=torch.float64)
    monkeypatch.setattr(timesteps, "draw", lambda query, batch: t)
    answer = distill(SSD(weight="constant", t_min=0.0, t_max=1.0), images())
    null, text = analytic().eps(answer.probe["x_t"], t, NULL, TEXT)
    low, high = 2 * answer.grad
    assert close(high, (text - null)[1])
    assert not close(low, (text - null)[0], 0.1)
