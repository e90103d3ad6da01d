"""Schedules and DDIM: METHODS 1.2 and identities I-1 to I-8 on analytic priors."""

from __future__ import annotations

import itertools

import pytest
import torch
from conftest import analytic, query, randn, times

from scoredistill import schedule
from scoredistill.methods import inversion
from scoredistill.methods.guidance import guided_eps, perpendicular
from scoredistill.priors.analytic import AnalyticPrior, gaussian
from scoredistill.schedule import NoiseSchedule


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-10) -> bool:
    return float((a - b).norm() / b.norm().clamp(min=1e-30)) < tolerance


@pytest.mark.parametrize(
    ("index", "abar", "sbar"),
    [
        (0, 0.99915, 0.02917),
        (20, 0.9813, 0.1380),
        (250, 0.6738, 0.6958),
        (500, 0.2763, 1.6183),
        (980, 0.005844, 13.043),
    ],
)
def test_stable_diffusion_table(index: int, abar: float, sbar: float) -> None:
    levels = schedule.scaled_linear()
    t, like = times(index / 1000, 1), torch.zeros(1, dtype=torch.float64)
    assert float(levels.alpha(t, like)) ** 2 == pytest.approx(abar, rel=2e-4)
    assert float(levels.sbar(t, like)) == pytest.approx(sbar, rel=5e-4)


def test_snap_reaches_the_named_index() -> None:
    levels = schedule.scaled_linear()
    fractions = torch.arange(1000, dtype=torch.float64) / 1000
    assert torch.equal((levels.snap(fractions) * 1000).round(), torch.arange(1000.0, dtype=torch.float64))
    assert float(levels.snap(times(1.0, 1))) == 0.999


def test_times_carry_over_by_noise_level() -> None:
    sd, flow = schedule.scaled_linear(), schedule.rectified_flow()
    like = torch.zeros(1, dtype=torch.float64)
    for t, expected in [(0.98, 0.929), (0.25, 0.410), (0.5, 0.618)]:  # METHODS 1.2, last column
        assert flow.time_of(float(sd.sbar(times(t, 1), like))) == pytest.approx(expected, abs=1.5e-3)


def test_a_schedule_that_does_not_grow_is_refused() -> None:
    with pytest.raises(ValueError, match="grow strictly"):
        NoiseSchedule(torch.ones(3), torch.tensor([0.1, 0.3, 0.2]))


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
@pytest.mark.parametrize("levels", [schedule.rectified_flow(), schedule.scaled_linear()], ids=["flow", "vp"])
def test_I1_parametrizations_agree_under_guidance(
    prediction: str, scale: float, levels: schedule.NoiseSchedule
) -> None:
    x_t, t = randn(2, 2, 3, 3), times(0.6)
    plain, wrapped = analytic(levels), analytic(levels, prediction)
    expected = guided_eps(plain, x_t, t, query(plain).conditions, scale)
    assert close(guided_eps(wrapped, x_t, t, query(wrapped).conditions, scale), expected)


def test_I1_perp_neg_commutes_with_the_flow_wrapping() -> None:
    levels, x_t, t = schedule.rectified_flow(), randn(2, 2, 3, 3), times(0.6)
    plain = analytic(levels)
    alpha = levels.alpha(t, x_t)
    null, text = plain.eps(x_t, t, plain.null, plain.text)
    view = plain.eps(x_t, t, gaussian(randn(2, 3, 3, seed=5), 0.5))[0]
    direct = perpendicular(view - null, text - null)
    as_flow = [(eps - x_t) / alpha for eps in (null, text, view)]
    assert close(alpha * perpendicular(as_flow[2] - as_flow[0], as_flow[1] - as_flow[0]), direct)


@pytest.mark.parametrize(("t", "s"), [(0.7, 0.4), (0.4, 0.7), (0.9, 0.0)])
def test_I2_ddim_is_euler_in_the_rescaled_variable(t: float, s: float) -> None:
    levels, x_t, eps = schedule.scaled_linear(), randn(2, 2, 3, 3), randn(2, 2, 3, 3, seed=1)
    clean = levels.clean(x_t, eps, times(t))
    expected = levels.alpha(times(s), x_t) * clean + levels.sigma(times(s), x_t) * eps
    assert close(levels.move(x_t, eps, times(t), times(s)), expected, 1e-12)


def test_I3_recurrence_of_the_one_step_prediction() -> None:
    prior, levels = analytic(), schedule.scaled_linear()
    t, s, x_t = times(0.7), times(0.6), randn(2, 2, 3, 3)
    eps_t = prior.eps(x_t, t, prior.text)[0]
    x_s = levels.move(x_t, eps_t, t, s)
    eps_s = prior.eps(x_s, s, prior.text)[0]
    left = levels.clean(x_s, eps_s, s) - levels.clean(x_t, eps_t, t)
    assert close(left, -levels.sbar(s, x_t) * (eps_s - eps_t))


def test_I5_a_flow_euler_step_is_ddim() -> None:
    levels = schedule.rectified_flow()
    prior, z, t, s = analytic(levels), randn(2, 2, 3, 3), times(0.7), times(0.55)
    eps = prior.eps(z, t, prior.text)[0]
    velocity = (eps - z) / levels.alpha(t, z)  # eps - x0
    assert close(z + (0.55 - 0.7) * velocity, levels.move(z, eps, t, s))


def _log_grid(count: int) -> NoiseSchedule:
    sbar = torch.logspace(-3, 1.2, count + 1, dtype=torch.float64)
    return NoiseSchedule((1 + sbar**2).rsqrt(), sbar * (1 + sbar**2).rsqrt())


def _sample(levels: NoiseSchedule, prior: AnalyticPrior, x_t: torch.Tensor) -> torch.Tensor:
    grid = torch.arange(levels.steps, dtype=torch.float64).flip(0) / levels.steps
    for t, s in itertools.pairwise(grid):
        x_t = levels.move(x_t, prior.eps(x_t, t[None], prior.text)[0], t[None], s[None])
    return x_t


def test_I6_gaussian_ode_converges_at_first_order() -> None:
    mean, std, errors = randn(2, 3, 3), 0.7, []
    for count in (32, 64, 128):
        levels = _log_grid(count)
        prior = AnalyticPrior(gaussian(mean, std), gaussian(mean, 1.0), levels)
        start, end = times(1.0, 1), times(0.0, 1)
        xbar = mean + 2.0 * randn(1, 2, 3, 3, seed=4)
        like = xbar
        ratio = (std**2 + levels.sbar(end, like) ** 2).sqrt() / (std**2 + levels.sbar(start, like) ** 2).sqrt()
        found = _sample(levels, prior, levels.alpha(start, like) * xbar) / levels.alpha(end, like)
        errors.append(float((found - (mean + ratio * (xbar - mean))).norm()))
    assert 1.85 < errors[0] / errors[1] < 2.05
    assert 1.85 < errors[1] / errors[2] < 2.05


def test_I7_inversion_is_the_weighted_mean_of_its_predictions() -> None:
    levels = _log_grid(64)
    prior, x = analytic(levels), randn(1, 2, 3, 3)
    grid = torch.arange(65, dtype=torch.float64)[:, None] / 65
    conditions = query(prior, count=1).conditions
    kappa = inversion.invert(prior, x, grid, conditions, 1.0)
    xbar, total = x, torch.zeros_like(x)
    for low, high in itertools.pairwise(grid):
        eps = prior.eps(levels.alpha(low, x) * xbar, low, prior.text)[0]
        step = levels.sbar(high, x) - levels.sbar(low, x)
        xbar, total = xbar + step * eps, total + step * eps
    assert close(kappa, total / levels.sbar(grid[-1], x), 1e-12)


def _ode_noise(x: torch.Tensor, mean: torch.Tensor, std: float, sbar: torch.Tensor) -> torch.Tensor:
    return (x - mean) * ((1 + sbar**2 / std**2).sqrt() - 1) / sbar


def test_I7_inversion_of_a_gaussian_converges_to_the_closed_form() -> None:
    mean, std, x, errors = randn(2, 3, 3), 0.7, randn(1, 2, 3, 3, seed=3), []
    for count in (64, 128, 256):
        levels = _log_grid(count)
        prior = AnalyticPrior(gaussian(mean, std), gaussian(mean, 1.0), levels)
        grid = torch.arange(count + 1, dtype=torch.float64)[:, None] / (count + 1)
        kappa = inversion.invert(prior, x, grid, query(prior, count=1).conditions, 1.0)
        errors.append(float((kappa - _ode_noise(x, mean, std, levels.sbar(grid[-1], x))).norm()))
    assert errors[0] > errors[1] > errors[2]
    assert 1.7 < errors[1] / errors[2] < 2.1


def test_I8_ode_noise_is_half_the_fixed_point_near_zero() -> None:
    mean, std, x = randn(2, 3, 3), 0.7, randn(1, 2, 3, 3, seed=3)
    for sbar, low, high in [(1e-3, 0.499, 0.501), (1.0, 0.2, 0.49)]:
        level = torch.tensor(sbar, dtype=torch.float64)
        fixed_point = level * (x - mean) / std**2
        ratio = _ode_noise(x, mean, std, level) / fixed_point
        assert low < float(ratio.mean()) < high
        assert float(ratio.std()) < 1e-9
