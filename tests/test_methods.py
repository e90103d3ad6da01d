"""SDS and SDI against closed forms: identities I-4, I-11, I-12, I-15, I-22 to I-28, I-30 of METHODS."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import analytic, query, randn, times
from test_schedule import close

from scoredistill import schedule
from scoredistill.contracts import Prompt, Query
from scoredistill.methods import noise, scores, time
from scoredistill.methods.catalogue import CITATIONS, METHODS, sdi, sds
from scoredistill.methods.distillation import Distillation
from scoredistill.priors.analytic import AnalyticPrior, gaussian

LEVELS = schedule.scaled_linear()


def at(t: float) -> time.TimeRule:
    return time.annealed(t, t)


def gradient(method: Distillation, x: torch.Tensor, prior: AnalyticPrior, seed: int = 0) -> torch.Tensor:
    """G itself: the batch reduction undone."""
    return len(x) * method(query(prior, seed=seed, count=len(x)), x).grad


def one_gaussian(std: float = 0.6, null_std: float = 1.1) -> AnalyticPrior:
    mean = randn(2, 3, 3, seed=7)
    return AnalyticPrior(gaussian(mean, std), gaussian(mean, null_std), LEVELS)


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_I4_cached_sdi_is_ddim(scale: float) -> None:
    prior, x_T = analytic(), randn(3, 2, 3, 3, seed=9)
    grid = [0.98 - 0.96 * i / 40 for i in range(41)]
    conditions = prior.conditions(Prompt("a"), None, 3)
    x_t, t = x_T, times(0.999, 3)
    for s in [*grid, None]:  # plain DDIM on [999, 980, 956, ..., 20], ending in the x0-prediction
        eps = scores.guided_eps(prior, x_t, t, conditions, scale)
        if s is None:
            break
        x_t, t = LEVELS.move(x_t, eps, t, times(s, 3)), times(s, 3)
    expected = LEVELS.clean(x_t, eps, t)

    memory: dict[str, torch.Tensor] = {}
    rng = torch.Generator().manual_seed(0)
    x = noise.ddim_start(Query(prior, conditions, 0.0, rng, memory), x_T, scale)
    for s in grid:
        method = Distillation(at(s), noise.cached, scores.guided(scale), scores.put_in, time.sbar)
        x = x - 3 * method(Query(prior, conditions, 0.0, rng, memory), x).grad
    assert close(x, expected, 1e-9)


def test_cached_noise_without_a_start_says_so() -> None:
    method = Distillation(at(0.5), noise.cached, scores.guided(1.0), scores.put_in, time.sbar)
    with pytest.raises(ValueError, match="ddim_start"):
        method(query(analytic()), randn(2, 2, 3, 3))


def test_I11_sds_with_unit_weight_is_variance_reduced_sjc() -> None:
    prior, x, t = analytic(), randn(2, 2, 3, 3), 0.5
    found = gradient(sds(scale=100.0, t_min=t, t_max=t, weight=time.constant), x, prior)
    rng = torch.Generator().manual_seed(0)
    torch.rand(2, generator=rng, dtype=torch.float64)  # the method's own draw of t comes first
    eps = noise.gaussian(x, rng)
    sbar = LEVELS.sbar(times(t), x)
    z = x + sbar * eps  # SJC's variable: noise on an unscaled image, input z / sqrt(1 + sbar^2)
    network = scores.guided_eps(prior, z / (1 + sbar**2).sqrt(), times(t), query(prior).conditions, 100.0)
    denoised = z - sbar * network
    assert close(found, -(denoised - x) / sbar)


@pytest.mark.parametrize("reduction", ["sum_over_latent", "mean_over_latent"])
def test_I12_target_form_and_named_reductions(reduction: str) -> None:
    prior, x = analytic(), randn(2, 2, 3, 3).requires_grad_()
    method = sdi(reduction=reduction, entropy=0.0)
    answer = method(query(prior), x.detach())
    target = answer.probe["x0"]  # x - G: the one-step denoised image
    loss = 0.5 * (x - target).square()
    (loss.sum() / 2 if reduction == "sum_over_latent" else loss.mean()).backward()
    assert close(answer.grad, x.grad)


def test_I15_sds_is_residual_plus_scaled_classifier() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    settings = {"t_min": 0.4, "t_max": 0.4, "weight": time.sigma_squared}
    at_scale = {scale: gradient(sds(scale=scale, **settings), x, prior) for scale in (0.0, 1.0, 2.0, 7.5)}
    slope = at_scale[1.0] - at_scale[0.0]
    assert close(at_scale[7.5], at_scale[0.0] + 7.5 * slope)
    rng = torch.Generator().manual_seed(0)
    torch.rand(2, generator=rng, dtype=torch.float64)
    kappa = noise.gaussian(x, rng)
    null, text = prior.eps(LEVELS.diffuse(x, kappa, times(0.4)), times(0.4), prior.null, prior.text)
    assert close(slope, LEVELS.sigma(times(0.4), x) ** 2 * (text - null))
    assert close(at_scale[0.0], LEVELS.sigma(times(0.4), x) ** 2 * (null - kappa))


def test_I20_perp_neg_is_orthogonal_and_vanishes_with_its_weights() -> None:
    positive, negative = randn(2, 2, 3, 3), randn(2, 2, 3, 3, seed=1)
    rest = scores.perpendicular(negative, positive)
    inner = (rest * positive).flatten(1).sum(1)
    assert float(inner.abs().max()) < 1e-12
    prior, x_t = analytic(), randn(2, 2, 3, 3)
    plain = query(prior).conditions
    view = gaussian(randn(2, 3, 3, seed=5), 0.5)
    for weight, same in [(0.0, True), (-1.5, False)]:
        perp = replace(plain, perpendicular=((view, times(weight)),))
        with_perp = scores.guided_eps(prior, x_t, times(0.5), perp, 7.5)
        assert close(with_perp, scores.guided_eps(prior, x_t, times(0.5), plain, 7.5)) is same


def test_a_batch_of_two_equals_two_batches_of_one() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    t = torch.tensor([0.31, 0.94], dtype=torch.float64)
    steps = (10 * t).long()
    conditions = query(prior).conditions
    together = noise.invert(prior, x, noise.levels(prior, t, steps), conditions, -7.5)
    for row in range(2):
        one = slice(row, row + 1)
        alone = noise.invert(prior, x[one], noise.levels(prior, t[one], steps[one]), conditions, -7.5)
        assert close(together[one], alone, 1e-14)


def test_I22_sdi_form_with_fresh_noise_is_sds_bit_for_bit() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    form = Distillation(time.uniform(), noise.fresh, scores.guided(101.0), scores.put_in, time.sigma_squared)
    assert torch.equal(gradient(form, x, prior, seed=5), gradient(sds(), x, prior, seed=5))


def test_I23_one_step_inversion_is_the_interval_noise() -> None:
    levels = schedule.cosine()  # its lowest level has sbar = 0, as the identity asks
    prior, x = analytic(levels), randn(2, 2, 3, 3)
    t = 0.5
    method = sdi(inversion_scale=7.5, steps_per_unit=2.0, tau=0.0, entropy=0.0, t_min=t, t_max=t)
    answer = method(query(prior), x)
    interval = scores.guided_eps(prior, x, times(0.0), query(prior).conditions, 7.5)
    assert close(answer.probe["kappa"], interval)
    x_t = levels.diffuse(x, interval, times(t))
    ism = levels.sbar(times(t), x) * (scores.guided_eps(prior, x_t, times(t), query(prior).conditions, 7.5) - interval)
    assert close(2 * answer.grad, ism)


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
        return scores.guided_eps(prior, levels.diffuse(x, kappa, t), t, conditions, scale)

    first, second = randn(1, 2, 3, 3, seed=2), randn(1, 2, 3, 3, seed=3)
    assert close(apply(first) - apply(second), rho * (first - second), 1e-8)
    assert rho == pytest.approx(4.18, abs=0.01) or rho < 1


def test_I27_expected_gradient_and_variance_of_sds_on_a_gaussian() -> None:
    std, t = 0.6, 0.5
    prior, x = one_gaussian(std), randn(1, 2, 3, 3).expand(20_000, -1, -1, -1)
    grads = gradient(sds(scale=1.0, t_min=t, t_max=t, weight=time.sbar), x, prior)
    sbar = LEVELS.sbar(times(t, 1), x)
    expected = sbar * sbar * (x[0] - prior.text.means[0]) / (std**2 + sbar**2)
    deviation = sbar * std**2 / (std**2 + sbar**2)
    assert float((grads.mean(0) - expected[0]).abs().max()) < 5 * float(deviation) / 20_000**0.5
    assert float(grads.std(0).mean()) == pytest.approx(float(deviation), rel=0.01)


def test_I27_sdi_without_entropy_has_no_variance() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    method = sdi(entropy=0.0, tau=0.0)
    assert torch.equal(gradient(method, x, prior, seed=1), gradient(method, x, prior, seed=2))
    noisy = sdi(tau=0.0)
    assert not torch.equal(gradient(noisy, x, prior, seed=1), gradient(noisy, x, prior, seed=2))


def test_I28_entropy_has_standard_deviation_point_three_sigma() -> None:
    prior = one_gaussian()
    x, t = torch.zeros(6000, 2, 3, 3, dtype=torch.float64), times(0.5, 6000)
    q = query(prior, count=6000)
    spread = noise.inversion()(q, x, t, t) - noise.inversion(entropy=0.0)(q, x, t, t)
    assert float(spread.std()) == pytest.approx(0.3 * float(LEVELS.sigma(times(0.5, 1), x)), rel=0.01)


def test_I30_threestudio_scale_is_one_less_than_canonical() -> None:
    prior, x_t, t = analytic(), randn(2, 2, 3, 3), times(0.5)
    null, text = prior.eps(x_t, t, prior.null, prior.text)
    assert close(scores.guided_eps(prior, x_t, t, query(prior).conditions, 8.5), text + 7.5 * (text - null))


def test_annealed_time_is_linear_and_uniform_time_stays_in_range() -> None:
    prior = analytic()
    rule = time.annealed(0.98, 0.25)
    assert [float(rule(query(prior, progress=p), 1)) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.98, 0.615, 0.25])
    drawn = time.uniform(0.02, 0.98)(query(prior), 4000)
    assert 0.02 <= float(drawn.min()) < 0.03
    assert 0.97 < float(drawn.max()) <= 0.98


def test_a_prior_that_fails_is_named() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    x[0, 0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        sdi()(query(prior), x)


def test_every_method_is_cited_and_documented() -> None:
    assert METHODS.keys() == CITATIONS.keys()
    for make in METHODS.values():
        assert make.__doc__ is not None
        assert "grad = " in make.__doc__
