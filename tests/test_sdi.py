"""SDI against closed forms: identities I-4, I-12, I-22 to I-28 and slip B1 of METHODS."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import SHAPE, analytic, query, randn, times
from test_schedule import close

from scoredistill import schedule
from scoredistill.contracts import Method, Query
from scoredistill.methods import noise, timesteps, weights
from scoredistill.methods.distillation import Distillation, injected_noise
from scoredistill.methods.guidance import guided, guided_eps
from scoredistill.methods.inversion import inverted_noise
from scoredistill.methods.ism import ISM
from scoredistill.methods.sdi import SDI, cached_noise_sdi, fixed_point, gradient_descent
from scoredistill.methods.sds import SDS
from scoredistill.priors.analytic import AnalyticPrior, gaussian

LEVELS = schedule.scaled_linear()


def at(t: float) -> dict[str, float]:
    """Settings that pin the diffusion time."""
    return {"t_min": t, "t_max": t}


def gradient(method: Method, x: torch.Tensor, inputs: Query) -> torch.Tensor:
    """The sum over the batch: the reduction is undone."""
    return len(x) * method(inputs, x).grad


def one_gaussian(std: float = 0.6, null_std: float = 1.1) -> AnalyticPrior:
    mean = randn(2, 3, 3, seed=7)
    return AnalyticPrior(gaussian(mean, std), gaussian(mean, null_std), LEVELS)


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_I4_sdi_with_cached_noise_is_ddim(scale: float) -> None:
    prior, x_T = analytic(), randn(3, *SHAPE, seed=9)
    grid = [0.98 - 0.96 * i / 40 for i in range(41)]
    inputs = query(prior, count=3)
    x_t, t, expected = x_T, times(0.999, 3), []
    for s in [*grid, None]:  # plain DDIM on [999, 980, 956, ..., 20], with the x0-prediction at every time
        eps = guided_eps(prior, x_t, t, inputs.conditions, scale)
        expected.append(LEVELS.clean(x_t, eps, t))
        if s is not None:
            x_t, t = LEVELS.move(x_t, eps, t, times(s, 3)), times(s, 3)
    found = list(cached_noise_sdi(inputs, x_T, scale=scale, times=grid))
    assert all(close(x, ddim, 1e-9) for x, ddim in zip(found, expected, strict=True))


@pytest.mark.parametrize("reduction", ["sum_over_latent", "mean_over_latent"])
def test_I12_target_form_and_named_reductions(reduction: str) -> None:
    prior, x = analytic(), randn(2, 2, 3, 3).requires_grad_()
    method = SDI(reduction=reduction, entropy=0.0)
    answer = method(query(prior), x.detach())
    target = answer.probe["x0"]  # x - G: the one-step denoised image
    loss = 0.5 * (x - target).square()
    (loss.sum() / 2 if reduction == "sum_over_latent" else loss.mean()).backward()
    assert close(answer.grad, x.grad)


def test_I22_sdi_with_fresh_noise_is_sds_bit_for_bit() -> None:
    prior, x, window = analytic(), randn(2, *SHAPE), {"scale": 101.0, "t_min": 0.02, "t_max": 0.98}
    form = SDI(noise_source="random", anneal=False, weight="sigma_squared", **window)
    assert torch.equal(gradient(form, x, query(prior, seed=5)), gradient(SDS(**window), x, query(prior, seed=5)))


def test_I22_the_master_form_with_fresh_noise_is_sds_bit_for_bit() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    form = Distillation(timesteps.uniform(), noise.fresh, guided(101.0), injected_noise, weights.sigma_squared)
    assert torch.equal(gradient(form, x, query(prior, seed=5)), gradient(SDS(), x, query(prior, seed=5)))


def test_I23_one_step_inversion_is_the_interval_noise() -> None:
    levels = schedule.cosine()  # its lowest level has sbar = 0, as the identity asks
    prior, x = analytic(levels), randn(2, 2, 3, 3)
    t = 0.5
    method = SDI(inversion_scale=7.5, steps_per_unit=2.0, tau=0.0, entropy=0.0, t_min=t, t_max=t)
    answer = method(query(prior), x)
    interval = guided_eps(prior, x, times(0.0), query(prior).conditions, 7.5)
    assert close(answer.probe["kappa"], interval)
    x_t = levels.diffuse(x, interval, times(t))
    ism = levels.sbar(times(t), x) * (guided_eps(prior, x_t, times(t), query(prior).conditions, 7.5) - interval)
    assert close(2 * answer.grad, ism)


def test_I23_sdi_of_one_inversion_step_is_ism() -> None:
    levels = schedule.cosine()  # its lowest level has sbar = 0, as the identity asks
    prior, x, t = analytic(levels), randn(2, *SHAPE), 0.5
    one_step = SDI(inversion_scale=7.5, steps_per_unit=2.0, tau=0.0, entropy=0.0, **at(t))
    its_interval = ISM(inversion_scale=7.5, delta=t, form="paper", factor=1.0, **at(t))
    assert close(gradient(its_interval, x, query(prior)), gradient(one_step, x, query(prior)), 1e-12)
    several = SDI(inversion_scale=7.5, steps_per_unit=10.0, tau=0.0, entropy=0.0, **at(t))
    assert not close(gradient(its_interval, x, query(prior)), gradient(several, x, query(prior)), 1e-2)


def test_I24_fixed_point_residual_of_a_gaussian() -> None:
    prior, std, t = one_gaussian(), 0.6, times(0.5)
    x, kappa = randn(2, 2, 3, 3), randn(2, 2, 3, 3, seed=1)
    mean, sbar = prior.text.means[0], LEVELS.sbar(times(0.5), x)
    x_t = LEVELS.diffuse(x, kappa, t)
    eps = prior.eps(x_t, t, prior.text)[0]
    assert close(kappa - eps, (kappa * std**2 - sbar * (x - mean)) / (std**2 + sbar**2))
    assert close((sbar * (kappa - eps)).square().mean(), (LEVELS.clean(x_t, eps, t) - x).square().mean())
    fixed_point = sbar * (x - mean) / std**2
    assert close(prior.eps(LEVELS.diffuse(x, fixed_point, t), t, prior.text)[0], fixed_point)


def test_I25_the_fixed_point_lies_on_the_ddim_trajectory() -> None:
    prior, std, t = one_gaussian(), 0.6, times(0.7)
    x_t = randn(2, 2, 3, 3)
    eps, sbar = prior.eps(x_t, t, prior.text)[0], LEVELS.sbar(t, x_t)
    x0 = LEVELS.clean(x_t, eps, t)
    fixed_point = sbar * (x0 - prior.text.means[0]) / std**2
    assert close(fixed_point, eps)
    assert close(x0 + sbar * fixed_point, x_t / LEVELS.alpha(t, x_t))


@pytest.mark.parametrize(("scale", "rho"), [(1.0, 1 / (0.01 + 1)), (7.5, -6.5 / 2 + 7.5 / 1.01)])
def test_I26_contraction_of_fixed_point_iteration(scale: float, rho: float) -> None:
    levels = schedule.karras(sbar_min=1.0, sbar_max=2.0)  # sbar = 1 at t = 0, the example of METHODS 5.6
    mean, x = randn(2, 3, 3), randn(1, 2, 3, 3, seed=1)
    prior = AnalyticPrior(gaussian(mean, 0.1), gaussian(mean, 1.0), levels)
    t, conditions = times(0.0, 1), query(prior, count=1).conditions

    def apply(kappa: torch.Tensor) -> torch.Tensor:
        return guided_eps(prior, levels.diffuse(x, kappa, t), t, conditions, scale)

    first, second = randn(1, 2, 3, 3, seed=2), randn(1, 2, 3, 3, seed=3)
    assert close(apply(first) - apply(second), rho * (first - second), 1e-8)
    assert rho == pytest.approx(4.18, abs=0.01) or rho < 1


@pytest.mark.parametrize(("scale", "rho"), [(1.0, 1 / (0.01 + 1)), (7.5, -6.5 / 2 + 7.5 / 1.01)])
def test_I26_fixed_points_contract_without_guidance_and_diverge_with_it(scale: float, rho: float) -> None:
    levels = schedule.karras(sbar_min=1.0, sbar_max=2.0)  # sbar = 1 at t = 0, the example of METHODS 5.6
    mean, x, t = randn(*SHAPE), randn(1, *SHAPE, seed=1), times(0.0, 1)
    prior = AnalyticPrior(gaussian(mean, 0.1), gaussian(mean, 1.0), levels)
    spread = []
    for steps in (0, 1, 4):
        rule = fixed_point(steps, scale)
        first, second = (rule(query(prior, seed=seed, count=1), x, t, t) for seed in (1, 2))
        spread.append(first - second)
    assert close(spread[1], rho * spread[0], 1e-8)
    assert close(spread[2], rho**4 * spread[0], 1e-8)


def test_sgd_shrinks_the_residual_of_a_gaussian_by_its_closed_form() -> None:
    mean, std, t = randn(*SHAPE, seed=7), 0.6, times(0.3)
    prior, x, rate, steps = AnalyticPrior(gaussian(mean, std), gaussian(mean, 1.1), LEVELS), randn(2, *SHAPE), 0.5, 10
    sbar = LEVELS.sbar(t, x)

    def residual(kappa: torch.Tensor) -> torch.Tensor:
        return (kappa * std**2 - sbar * (x - mean)) / (std**2 + sbar**2)

    start, end = (gradient_descent(n, rate, 1.0)(query(prior), x, t, t) for n in (0, steps))
    share = std**2 / (std**2 + sbar**2)
    assert close(residual(end), (1 - 2 * rate * share**2 / mean.numel()) ** steps * residual(start))
    assert not end.requires_grad


def test_I27_sdi_without_entropy_has_no_variance() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    method = SDI(entropy=0.0, tau=0.0)
    assert torch.equal(gradient(method, x, query(prior, seed=1)), gradient(method, x, query(prior, seed=2)))
    noisy = SDI(tau=0.0)
    assert not torch.equal(gradient(noisy, x, query(prior, seed=1)), gradient(noisy, x, query(prior, seed=2)))


def test_I28_entropy_has_standard_deviation_point_three_sigma() -> None:
    prior = one_gaussian()
    x, t = torch.zeros(6000, 2, 3, 3, dtype=torch.float64), times(0.5, 6000)
    q = query(prior, count=6000)
    spread = inverted_noise(-7.5, 10.0, 0.3)(q, x, t, t) - inverted_noise(-7.5, 10.0)(q, x, t, t)
    assert float(spread.std()) == pytest.approx(0.3 * float(LEVELS.sigma(times(0.5, 1), x)), rel=0.01)


@pytest.mark.parametrize("source", ["inversion", "random", "fixed", "fixed_point", "sgd"])
def test_sdi_noise_sources_differ_in_randomness_and_in_cost(source: str) -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    method = SDI(noise_source=source, entropy=0.0, tau=0.0, noise_steps=3, **at(0.5))
    first, second = (method(query(prior, seed=seed), x).probe["kappa"] for seed in (1, 2))
    assert torch.equal(first, second) is (source in ("inversion", "fixed"))
    assert prior.calls / 2 == {"inversion": 6, "random": 1, "fixed": 1, "fixed_point": 4, "sgd": 4}[source]


def test_B1_the_official_slip_feeds_the_image_of_another_level() -> None:
    prior, x, t, r = analytic(), randn(2, *SHAPE), times(0.5), times(0.55)
    method = SDI(entropy=0.0, tau=0.0, bug_compat=True, **at(0.5)).build()
    answer = replace(method, second_time=lambda query, t: r)(query(prior), x)
    kappa = inverted_noise(-7.5, 10.0)(query(prior), x, t, r)
    x_r = LEVELS.diffuse(x, kappa, r)
    assert close(answer.probe["x_t"], x_r)
    eps = guided_eps(prior, x_r, t, query(prior).conditions, 7.5)
    assert close(2 * answer.grad, x - (x_r - LEVELS.sigma(t, x) * eps) / LEVELS.alpha(t, x))
    assert float(LEVELS.alpha(r, x)[0] / LEVELS.alpha(t, x)[0]) == pytest.approx(0.88, abs=0.01)


def test_a_prior_that_fails_is_named() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    x[0, 0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        SDI()(query(prior), x)
