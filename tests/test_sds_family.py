"""SDS and the methods built from it: identities I-11, I-13, I-15 to I-18, I-21 and I-27 of METHODS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import randn, times
from method_inputs import (
    LEVELS,
    MANY,
    NEGATIVE,
    NULL,
    SHAPE,
    SIDE,
    TEXT,
    Renders,
    analytic,
    build,
    check_mean_and_deviation,
    conditions_of,
    distill,
    images,
)
from test_schedule import close

from scoredistill.contracts import Query
from scoredistill.methods import csd, nfsd, noise, timesteps
from scoredistill.methods.asd import ASD
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.consistent3d import Consistent3D
from scoredistill.methods.csd import CSD
from scoredistill.methods.guidance import guided_eps, perpendicular
from scoredistill.methods.hifa import HiFA
from scoredistill.methods.nfsd import NFSD
from scoredistill.methods.noise import asset_noise
from scoredistill.methods.sds import SDS
from scoredistill.methods.sjc import SJC
from scoredistill.priors.analytic import AnalyticPrior, gaussian
from scoredistill.randomness import gaussian as gaussian_like


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Callable[[slice], None]:
    """Fixes the random draws of each row of a batch; called with the rows that the batch holds."""
    shares, eps = torch.tensor([0.13, 0.74], dtype=torch.float64), randn(2, *SHAPE, seed=3)

    def hold(part: slice) -> None:
        monkeypatch.setattr(timesteps, "draw", lambda query, batch: shares[part])
        for module in (noise, csd, nfsd):
            monkeypatch.setattr(module, "gaussian", lambda like, rng: eps[part])

    return hold


@pytest.mark.parametrize("name", ["sds", "sjc", "nfsd", "csd", "vsd", "esd"])
@pytest.mark.parametrize("perp_neg", [False, True])
def test_a_batch_of_two_equals_two_batches_of_one(name: str, perp_neg: bool, rows: Callable[[slice], None]) -> None:
    x, weights, settings = images(), torch.tensor([-0.13, -0.74], dtype=torch.float64), {"t_min": 0.0, "t_max": 0.999}
    if name in ("csd", "vsd", "esd"):
        settings["t_max_late"] = 0.999
    learner = Renders(images()[0])
    config = METHODS[name](**settings)
    method = config.build(learner if config.needs_learner else None)

    def grad(part: slice) -> torch.Tensor:
        rows(part)
        views = ((SIDE, weights[part]),) if perp_neg else ()
        return len(x[part]) * distill(method, x[part], null=NEGATIVE, perpendicular=views).grad

    together = grad(slice(0, 2))
    assert close(together[:1], grad(slice(0, 1)), 1e-13)
    assert close(together[1:], grad(slice(1, 2)), 1e-13)


def test_I11_sds_with_unit_weight_is_variance_reduced_sjc() -> None:
    prior, x, t = analytic(), images(), 0.5
    found = 2 * distill(SDS(scale=100.0, t_min=t, t_max=t, weight="constant"), x, prior).grad
    rng = torch.Generator().manual_seed(0)
    torch.rand(2, generator=rng, dtype=torch.float64)  # the method's own draw of t comes first
    eps = gaussian_like(x, rng)
    sbar = LEVELS.sbar(times(t), x)
    z = x + sbar * eps  # SJC's variable: noise on an unscaled image, input z / sqrt(1 + sbar^2)
    network = guided_eps(prior, z / (1 + sbar**2).sqrt(), times(t), conditions_of(prior), 100.0)
    denoised = z - sbar * network
    assert close(found, -(denoised - x) / sbar)


def test_I11_sjc_is_sds_without_a_weight() -> None:
    window = {"t_min": 0.1, "t_max": 0.6}
    unweighted = SDS(weight="constant", **window)
    assert torch.equal(distill(SJC(**window), images()).grad, distill(unweighted, images()).grad)


def test_I15_sds_is_residual_plus_scaled_classifier() -> None:
    prior, x = analytic(), images()
    settings = {"t_min": 0.4, "t_max": 0.4, "weight": "sigma_squared"}
    at_scale = {scale: 2 * distill(SDS(scale=scale, **settings), x, prior).grad for scale in (0.0, 1.0, 2.0, 7.5)}
    slope = at_scale[1.0] - at_scale[0.0]
    assert close(at_scale[7.5], at_scale[0.0] + 7.5 * slope)
    rng = torch.Generator().manual_seed(0)
    torch.rand(2, generator=rng, dtype=torch.float64)
    kappa = gaussian_like(x, rng)
    null, text = prior.eps(LEVELS.diffuse(x, kappa, times(0.4)), times(0.4), NULL, TEXT)
    assert close(slope, LEVELS.sigma(times(0.4), x) ** 2 * (text - null))
    assert close(at_scale[0.0], LEVELS.sigma(times(0.4), x) ** 2 * (null - kappa))


def test_I27_expected_gradient_and_variance_of_sds_on_a_gaussian() -> None:
    mean, std, t = randn(*SHAPE, seed=7), 0.6, 0.5
    prior, x = AnalyticPrior(gaussian(mean, std), NULL, LEVELS), images(1).expand(MANY, -1, -1, -1)
    found = MANY * distill(SDS(scale=1.0, t_min=t, t_max=t, weight="sbar"), x, prior).grad
    sbar = float(LEVELS.sbar(times(t, 1), x))
    share = sbar / (std**2 + sbar**2)
    check_mean_and_deviation(found, sbar * share * (x[0] - mean), share * std**2)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("reduction", ["sum_over_latent", "mean_over_latent"])
def test_I13_hifa_on_pixels_is_hifa_on_latents_behind_an_identity_decoder(steps: int, reduction: str) -> None:
    """Of a prior whose images are colors: the decoder clamps them to [0, 1]."""
    gray = AnalyticPrior(gaussian(0.5 + 0.1 * randn(*SHAPE), 0.02), NULL, LEVELS)
    method = HiFA(scale=1.0, image_weight=0.3, denoising_steps=steps, reduction=reduction)
    answer = distill(method, images(), gray)
    assert answer.grad_rgb is not None
    assert 0 < float(answer.probe["x0"].min()) < float(answer.probe["x0"].max()) < 1
    assert close(answer.grad_rgb, 0.3 * answer.grad)


def test_hifa_compares_with_the_render_at_its_own_size_and_in_its_own_range() -> None:
    prior, x, rgb = analytic(), images(), randn(2, 3, 8, 8, seed=2)
    query = Query(prior, conditions_of(prior), 0.3, torch.Generator().manual_seed(0), rgb=rgb)
    answer = HiFA(weight="sbar", image_weight=2.0)(query, x)
    decoded = F.interpolate(answer.probe["x0"].clamp(0, 1), (8, 8), mode="bilinear", antialias=True)
    assert close(answer.grad_rgb, 2.0 * (rgb - decoded) / 2)
    without_render = Query(prior, conditions_of(prior), 0.3, torch.Generator().manual_seed(0))
    assert HiFA(image_weight=0.0)(without_render, x).grad_rgb is None
    with pytest.raises(ValueError, match="needs the render"):
        HiFA()(without_render, x)


def test_hifa_anneals_with_the_root_of_progress() -> None:
    for progress, t in [(0.0, 0.98), (0.25, 0.64), (0.81, 0.368)]:
        assert close(distill(HiFA(), images(), progress=progress).probe["t"], times(t))


def test_several_stochastic_steps_give_the_same_image_of_a_gaussian_on_average() -> None:
    """E[D] is the one-step D; z spreads it by sbar_s sqrt(1 - sbar_s^2 / sbar_t^2) std^2 / (std^2 + sbar_s^2)."""
    std, t, s = 0.6, times(0.9, MANY), times(0.4, MANY)
    prior = AnalyticPrior(gaussian(randn(*SHAPE), std), NULL, LEVELS)
    x_t = images(1).expand(MANY, -1, -1, -1)
    query = Query(prior, conditions_of(prior, MANY), 0.0, torch.Generator().manual_seed(0))
    eps = HiFA(scale=1.0, denoising_steps=2).predict(query, x_t, t)
    found = LEVELS.clean(x_t, eps, t)
    expected = LEVELS.clean(x_t[:1], prior.eps(x_t[:1], t[:1], prior.text)[0], t[:1])[0]
    high, low = (float(LEVELS.sbar(level[:1], x_t)) for level in (t, s))
    deviation = low * (1 - low**2 / high**2) ** 0.5 * std**2 / (std**2 + low**2)
    check_mean_and_deviation(found, expected, deviation)


def test_denoising_evaluates_the_prior_once_for_each_time_left() -> None:
    for progress, calls in [(0.0, 4), (0.25, 3), (1.0, 2)]:  # t = .98, .64, .3 on a grid of quarters
        prior = analytic()
        distill(HiFA(denoising_steps=4), images(), prior, progress)
        assert prior.calls == calls


@pytest.mark.parametrize("wide", [0.6, 1.1])
def test_expected_gradient_and_variance_of_csd_on_gaussians(wide: float) -> None:
    """E = w sbar [(x - mu) / (s^2 + sbar^2) - (x - m) / (q^2 + sbar^2)]; the noise is small, and zero where q = s."""
    mean, null, std, t = randn(*SHAPE), randn(*SHAPE, seed=2), 0.6, 0.4
    prior = AnalyticPrior(gaussian(mean, std), gaussian(null, wide), LEVELS)
    x = images(1).expand(MANY, -1, -1, -1)
    found = MANY * distill(CSD(t_min=t, t_max=t), x, prior).grad
    sbar = float(LEVELS.sbar(times(t, 1), x))
    text, free = 1 / (std**2 + sbar**2), 1 / (wide**2 + sbar**2)
    check_mean_and_deviation(found, sbar * ((x[0] - mean) * text - (x[0] - null) * free), sbar**2 * abs(text - free))


@pytest.mark.parametrize("t", [0.1, 0.4])
def test_expected_gradient_and_variance_of_nfsd_on_gaussians(t: float) -> None:
    """E = w sbar [(d - g) (x - m) / (q^2 + sbar^2) + g (x - mu) / (s^2 + sbar^2)], d = 1 below the switch, else 0."""
    mean, null, std, wide, scale = randn(*SHAPE), randn(*SHAPE, seed=2), 0.6, 1.1, 3.0
    prior = AnalyticPrior(gaussian(mean, std), gaussian(null, wide), LEVELS)
    x = images(1).expand(MANY, -1, -1, -1)
    found = MANY * distill(NFSD(scale=scale, t_min=t, t_max=t, weight="constant"), x, prior).grad
    sbar = float(LEVELS.sbar(times(t, 1), x))
    text, free = scale / (std**2 + sbar**2), ((t < 0.2) - scale) / (wide**2 + sbar**2)
    check_mean_and_deviation(found, sbar * ((x[0] - mean) * text + (x[0] - null) * free), sbar**2 * abs(text + free))


def test_I16_csd_without_a_negative_prompt_is_the_slope_of_sds_over_its_scale() -> None:
    once, twice = (distill(SDS(scale=scale, weight="constant"), images()).grad for scale in (1.0, 2.0))
    assert close(distill(CSD(negative_share=0.0), images()).grad, twice - once)
    prior = analytic()
    assert close(distill(CSD(), images(), prior, progress=0.0, null=NEGATIVE).grad, twice - once)
    assert prior.rows == 4, "a negative prompt that weighs nothing is not computed"


@pytest.mark.parametrize(("progress", "share"), [(0.2, 0.4), (0.3, 0.6), (0.8, 1.0)])
def test_csd_leads_away_from_the_negative_prompt_more_and_more(progress: float, share: float) -> None:
    answer = distill(CSD(), images(), progress=progress, null=NEGATIVE)
    text, empty, negative = analytic().eps(answer.probe["x_t"], answer.probe["t"], TEXT, NULL, NEGATIVE)
    assert close(2 * answer.grad, text - share * negative - (1 - share) * empty)


def test_csd_begins_perp_neg_at_the_negative_prompt_with_three_times_its_weights() -> None:
    """As in the official code: perp(eps_side - eps_negative, eps_text - eps_negative), in addition to the bracket."""
    answer = distill(CSD(), images(), progress=0.3, null=NEGATIVE, perpendicular=((SIDE, times(-0.5)),))
    x_t, t = answer.probe["x_t"], answer.probe["t"]
    text, empty, negative, side = analytic().eps(x_t, t, TEXT, NULL, NEGATIVE, SIDE)
    away = perpendicular(side - negative, text - negative)
    assert close(2 * answer.grad, text - 0.6 * negative - 0.4 * empty - 1.5 * away)


def test_the_gradient_of_csd_is_divided_by_its_norm_over_the_batch() -> None:
    plain, official = (distill(CSD(reduction=name), images()).grad for name in ("sum_over_latent", "unit_norm"))
    assert close(official, plain / (2 * plain).norm(), 1e-7)
    assert float(official.norm()) == pytest.approx(1 / 2)


def test_the_coefficients_of_csd_sum_to_zero() -> None:
    answer = distill(CSD(negative_share=0.7), images(), null=TEXT, empty=TEXT)
    assert float(answer.grad.abs().max()) == 0


@pytest.mark.parametrize("perpendicular", [(), ((SIDE, times(-1.5)),)])
def test_I17_nfsd_at_small_t_is_guidance_with_no_noise_subtracted(perpendicular: tuple[Any, ...]) -> None:
    answer = distill(NFSD(t_max=0.199), images(), perpendicular=perpendicular)
    x_t, t, prior = answer.probe["x_t"], answer.probe["t"], analytic()
    guided = guided_eps(prior, x_t, t, conditions_of(prior, perpendicular=perpendicular), 7.5)
    assert close(2 * answer.grad, LEVELS.sigma(t, x_t) ** 2 * guided)


def test_nfsd_switches_for_each_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    t = torch.tensor([0.199, 0.2], dtype=torch.float64)
    monkeypatch.setattr(timesteps, "draw", lambda query, batch: t)
    answer = distill(NFSD(scale=3.0, weight="constant", t_min=0.0, t_max=1.0), images(), null=NEGATIVE)
    assert torch.equal(answer.probe["t"], t)
    text, empty, negative = analytic().eps(answer.probe["x_t"], t, TEXT, NULL, NEGATIVE)
    low, high = 2 * answer.grad
    assert close(low, empty[0] + 3 * (text - empty)[0])
    assert close(high, (empty - negative)[1] + 3 * (text - empty)[1])


@pytest.mark.parametrize(("name", "when"), [("vsd", 0.2), ("csd", 0.5)])
def test_the_window_of_times_shrinks_late_in_the_run(name: str, when: float) -> None:
    for progress, t_max in [(when - 0.01, 0.98), (when, 0.5)]:
        drawn = distill(build(name), images(1000), progress=progress).probe["t"]
        assert 0.02 <= float(drawn.min()) < 0.03
        assert t_max - 0.01 < float(drawn.max()) <= t_max


def test_I18_asd_without_a_second_time_is_the_classifier() -> None:
    x, t = images(), 0.5
    window = {"t_min_start": t, "t_min": t, "t_max": t, "t_max_late": t}
    assert not distill(ASD(scale=1.0, delta=0.0, **window), x).grad.any()
    answer = distill(ASD(scale=7.5, delta=0.0, **window), x)
    null, text = analytic().eps(answer.probe["x_t"], times(t), NULL, TEXT)
    assert close(2 * answer.grad, LEVELS.sigma(times(t), x) ** 2 * 6.5 * (text - null))


def test_asd_halves_perp_neg_in_the_target_and_has_none_in_the_reference() -> None:
    prior, x, t = analytic(), images(), 0.5
    method = ASD(delta=0.0, t_min_start=t, t_min=t, t_max=t, t_max_late=t)
    answer = distill(method, x, prior, perpendicular=((SIDE, times(-1.5)),))
    half = conditions_of(prior, perpendicular=((SIDE, times(-0.75)),))
    target = guided_eps(prior, answer.probe["x_t"], times(t), half, 7.5)
    text = prior.eps(answer.probe["x_t"], times(t), TEXT)[0]
    assert close(2 * answer.grad, LEVELS.sigma(times(t), x) ** 2 * (target - text))


def test_the_window_of_asd_moves_and_its_second_time_stays_near() -> None:
    prior, method = analytic(), ASD().build()
    for progress, low, high in [(0.0, 0.5, 0.98), (1.0, 0.02, 0.5)]:
        inputs = Query(prior, conditions_of(prior), progress, torch.Generator().manual_seed(0))
        t = method.time(inputs, 4000)
        assert low <= float(t.min()) < low + 0.01 < high - 0.01 < float(t.max()) <= high
        r = method.second_time(inputs, t)
        assert bool((r >= t).all())
        assert bool((r <= t + 0.1 * (t - low)).all())


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_I21_consistent3d_regresses_the_cleaner_prediction_onto_the_noisier(progress: float) -> None:
    prior, x = analytic(), images()
    inputs = Query(prior, conditions_of(prior), progress, torch.Generator().manual_seed(0))
    s = LEVELS.snap(times(0.7 - 0.6 * progress**0.5))
    scale, t = 101 - 50 * progress, LEVELS.snap((s + 0.2).clamp(max=0.98))
    method = Consistent3D(gap_min=0.2, gap_max=0.2, clip_start=1e6, clip_end=1e6).build()
    assert close(method.time(inputs, 2), t, 2e-3)
    grad = 2 * replace(method, time=lambda query, batch: t)(inputs, x).grad
    x_t = LEVELS.diffuse(x, asset_noise(inputs, x), t)
    eps_t = guided_eps(prior, x_t, t, inputs.conditions, scale)
    x_s = LEVELS.move(x_t, eps_t, t, s)
    eps_s = guided_eps(prior, x_s, s, inputs.conditions, scale)
    assert close(grad, eps_t - eps_s)
    moved = LEVELS.clean(x_s, eps_s, s) - LEVELS.clean(x_t, eps_t, t)
    assert close(-LEVELS.sbar(s, x) * grad, -moved)
    clipped = Consistent3D(gap_min=0.2, gap_max=0.2, clip_start=1e-3, clip_end=1e-3)
    assert float(2 * clipped(inputs, x).grad.abs().max()) <= 1e-3
