"""Consistent Flow Distillation and Probability-Flow Distillation against closed forms and their relatives."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from conftest import SHAPE, analytic, query, randn, times
from test_schedule import close

from scoredistill import schedule
from scoredistill.camera import orbit, ring
from scoredistill.methods.cfd import CFD, NoiseMap
from scoredistill.methods.noise import asset_noise
from scoredistill.methods.pfd import PFD
from scoredistill.methods.sdi import SDI
from scoredistill.priors.analytic import AnalyticPrior, gaussian

LEVELS = schedule.scaled_linear()


def at(t: float) -> dict[str, float]:
    """Settings that pin the diffusion time."""
    return {"t_min": t, "t_max": t}


def test_cfd_of_a_flat_image_is_sdi_with_fixed_noise() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    plain = CFD(scale=7.5, normalize=False, weight="sbar")
    sdi = SDI(noise_source="fixed", t_min=0.02)
    assert torch.equal(plain(query(prior), x).grad, sdi(query(prior), x).grad)


def test_cfd_gives_every_image_a_gradient_of_mean_size_one() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    grad = 2 * CFD()(query(prior), x).grad
    assert close(grad.abs().flatten(1).mean(1), torch.ones(2, dtype=x.dtype), 1e-7)
    plain = 2 * CFD(normalize=False)(query(prior), x).grad
    assert close(grad * plain.abs().flatten(1).mean(1).reshape(-1, 1, 1, 1), plain, 1e-7)


def test_cfd_churn_renews_the_noise_and_preserves_its_variance() -> None:
    x, inputs = randn(3000, *SHAPE), replace(query(analytic(), seed=1, count=3000), state=NoiseMap())
    first, second, third = (CFD(churn=0.3).noise(inputs, x) for _ in range(3))
    assert torch.equal(first, asset_noise(inputs, x))
    assert float((first * second).mean()) == pytest.approx(math.sqrt(0.7), abs=0.02)
    assert float((first * third).mean()) == pytest.approx(0.7, abs=0.02)
    assert float(third.std()) == pytest.approx(1.0, abs=0.02)


def test_cfd_noise_moves_with_the_view() -> None:
    prior, x, h = analytic(), randn(3, 2, 8, 8), 8
    angles = torch.tensor([0.0, 1.2, 1.2]) * (math.pi / h)  # nearest to one of its 2 h columns
    rises = torch.tensor([0.0, 0.0, 2.1]) * (math.pi / h)
    cameras = orbit(angles, rises, torch.full((3,), 2.8), torch.full((3,), 0.7), 64)
    inputs = replace(query(prior, count=3), cameras=cameras, state=NoiseMap())
    front, side, above = CFD().noise(inputs, x)
    assert torch.equal(front[:, :, 1:], side[:, :, :-1])  # the camera turns right, its image moves left
    (whole,) = inputs.state.noise
    assert whole.shape == (2, 2 * h, 2 * h)
    assert torch.equal(above, whole[:, -2 % h : -2 % h + h, 1 : 1 + h])
    around = replace(query(prior, count=4), cameras=ring(4, 64, elevation_deg=0), state=NoiseMap())
    views = CFD().noise(around, randn(4, 2, 8, 8))
    assert torch.equal(torch.cat([views[0], views[2]], -1), around.state.noise[0, :, :h])


def test_pfd_of_a_single_step_down_is_sdi() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    one_step = PFD(solver_steps_per_unit=1.0, t_max_late=0.7, t_min=0.7, t_max=0.7)
    sdi = SDI(inversion_scale=-6.5, tau=0.0, entropy=0.0, **at(0.7))
    assert close(one_step(query(prior), x).grad, sdi(query(prior), x).grad, 1e-12)


def test_pfd_of_gaussians_is_the_transport_between_them() -> None:
    """Up along one Gaussian's ODE and down the other's: x0_hat - mu_c = (xbar - mu_c) s_c / sqrt(s_c^2 + sbar^2)."""
    x, t, std, null_std = randn(2, *SHAPE), 0.6, 0.6, 1.1
    mean, null_mean = randn(*SHAPE, seed=7), randn(*SHAPE, seed=8)
    prior = AnalyticPrior(gaussian(mean, std), gaussian(null_mean, null_std), LEVELS)
    sbar = LEVELS.sbar(times(t), x)
    xbar = null_mean + (x - null_mean) * (null_std**2 + sbar**2).sqrt() / null_std
    expected = x - mean - (xbar - mean) * std / (std**2 + sbar**2).sqrt()
    errors = []
    for n in (40, 80, 160):
        method = PFD(scale=1.0, inversion_scale=0.0, steps_per_unit=n, solver_steps_per_unit=n, t_max_late=t, **at(t))
        errors.append(float((2 * method(query(prior), x).grad - expected).norm() / expected.norm()))
    assert errors[2] < 0.05
    assert all(1.5 < before / after < 2.2 for before, after in itertools.pairwise(errors))


def test_pfd_is_stationary_where_the_way_up_equals_the_way_down() -> None:
    prior, sizes = analytic(), []
    x = prior.text.means[:2] + 0.4 * randn(2, *SHAPE)
    both = {"scale": 1.0, "inversion_scale": 1.0, "t_max_late": 0.5} | at(0.5)
    for n in (20, 40, 80):
        method = PFD(**both, steps_per_unit=n, solver_steps_per_unit=n)
        sizes.append(float(method(query(prior), x).grad.norm()))
    assert sizes[2] < sizes[1] / 1.6 < sizes[0] / 1.6**2
    assert sizes[2] < 0.1 * float(PFD(**at(0.5), t_max_late=0.5)(query(prior), x).grad.norm())
