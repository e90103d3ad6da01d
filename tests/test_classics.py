"""The methods of one noised image, with and without a learner: identities I-1, I-11, I-13, I-14, I-16, I-17 of METHODS.

Tests over METHODS hold for every method of the catalogue.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import randn, times
from test_schedule import close

from scoredistill import schedule
from scoredistill.contracts import Condition, Conditions, Distilled, Method, Prompt, Query
from scoredistill.methods import pixels, scores, time
from scoredistill.methods.catalogue import METHODS, csd, esd, hifa, nfsd, sds, sjc, vsd
from scoredistill.methods.distillation import Distillation, Noised
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


def ask(
    method: Method, x: torch.Tensor, prior: AnalyticPrior | None = None, progress: float = 0.3, **changes: Any
) -> Distilled:
    """One answer of a method to fresh dice; x is the render as well."""
    prior = prior or analytic()
    conditions = conditions_of(prior, len(x), **changes)
    return method(Query(prior, conditions, progress, torch.Generator().manual_seed(0), rgb=x), x)


class Renders:
    """An exact score of the renders: of each alone where the camera is told, of N(mean, std^2) where it is not."""

    def __init__(self, mean: torch.Tensor, std: float = 0.5):
        self.crowd = gaussian(mean, std)
        self.cameras: list[bool] = []

    def eps(self, query: Query, x_t: torch.Tensor, t: torch.Tensor, *, camera: bool) -> torch.Tensor:
        levels = query.prior.schedule
        self.cameras.append(camera)
        if camera:
            assert query.rgb is not None
            return (x_t - levels.alpha(t, x_t) * query.rgb) / levels.sigma(t, x_t)
        return self.crowd.eps(x_t / levels.alpha(t, x_t), levels.sbar(t, x_t))

    def loss(self, query: Query, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(())

    def param_groups(self) -> list[dict[str, Any]]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        assert not state


def made(name: str, **settings: Any) -> Method:
    """A method of the catalogue, with a learner where it asks for one."""
    learns = "learner" in inspect.signature(METHODS[name]).parameters
    return METHODS[name](**({"learner": Renders(randn(*SHAPE, seed=5))} if learns else {}), **settings)


@pytest.mark.parametrize("progress", [0.1, 0.7])
@pytest.mark.parametrize("name", METHODS)
def test_I1_every_parametrization_of_a_prior_gives_the_same_gradient(name: str, progress: float) -> None:
    expected = ask(made(name), images(), progress=progress)
    for prediction in ("x0", "v", "flow"):
        found = ask(made(name), images(), analytic(prediction), progress)
        assert close(found.grad, expected.grad, 1e-8), prediction
        assert (found.grad_rgb is None) == (expected.grad_rgb is None)
        if found.grad_rgb is not None and expected.grad_rgb is not None:
            assert close(found.grad_rgb, expected.grad_rgb, 1e-8), prediction


@pytest.mark.parametrize("name", METHODS)
def test_every_method_heeds_perp_neg(name: str) -> None:
    plain = ask(made(name), images())
    without = ask(made(name), images(), perpendicular=((SIDE, times(0.0)),))
    with_views = ask(made(name), images(), perpendicular=((SIDE, times(-1.5)), (NEGATIVE, times(-0.5))))
    assert close(without.grad, plain.grad)
    assert not close(with_views.grad, plain.grad, 1e-4)


class FourViews(AnalyticPrior):
    """A prior that denoises four views at one time jointly: each is drawn to the mean of its group."""

    views = 4

    def eps(self, x_t: torch.Tensor, t: torch.Tensor, *conditions: Condition) -> tuple[torch.Tensor, ...]:
        groups = t.reshape(-1, 4)
        assert torch.equal(groups, groups[:, :1].expand(-1, 4)), "views that are denoised jointly share their t"
        mean = x_t.reshape(-1, 4, *SHAPE).mean(1).repeat_interleave(4, 0)
        return tuple(eps + 0.1 * mean for eps in super().eps(x_t, t, *conditions))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_serves_a_prior_of_four_views(name: str) -> None:
    answer = ask(made(name), images(8), FourViews(TEXT, NULL, LEVELS))
    assert answer.grad.shape == (8, *SHAPE)


def test_times_of_four_views_come_in_whole_groups() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        ask(sds(), images(6), FourViews(TEXT, NULL, LEVELS))


@pytest.mark.parametrize("name", METHODS)
def test_a_prior_without_a_text_free_score_is_named_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="no text-free score") as complaint:
        ask(made(name), images(), null=None, empty=None)
    assert "\n" not in str(complaint.value)


@pytest.mark.parametrize("method", [sds(), sjc(), nfsd(), csd(), vsd(Renders(images()[0])), esd(Renders(images()[0]))])
@pytest.mark.parametrize("perpendicular", [False, True])
def test_a_batch_of_two_equals_two_batches_of_one(method: Distillation, perpendicular: bool) -> None:
    x, eps, t = images(), randn(2, *SHAPE, seed=3), torch.tensor([0.13, 0.74], dtype=torch.float64)

    def grad(rows: slice) -> torch.Tensor:
        fixed = replace(method, time=lambda *_: t[rows], noise=lambda *_: eps[rows])
        views = ((SIDE, -t[rows]),) if perpendicular else ()
        return len(x[rows]) * ask(fixed, x[rows], null=NEGATIVE, perpendicular=views).grad

    together = grad(slice(0, 2))
    assert close(together[:1], grad(slice(0, 1)), 1e-13)
    assert close(together[1:], grad(slice(1, 2)), 1e-13)


def test_I11_sjc_is_sds_without_a_weight() -> None:
    window = {"t_min": 0.1, "t_max": 0.6}
    unweighted = sds(weight=time.constant, **window)
    assert torch.equal(ask(sjc(**window), images()).grad, ask(unweighted, images()).grad)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("reduction", ["sum_over_latent", "mean_over_latent"])
def test_I13_hifa_on_pixels_is_hifa_on_latents_behind_an_identity_decoder(steps: int, reduction: str) -> None:
    answer = ask(hifa(image_weight=0.3, denoising_steps=steps, reduction=reduction), images())
    assert answer.grad_rgb is not None
    assert close(answer.grad_rgb, 0.3 * answer.grad)


def test_hifa_compares_with_the_render_at_its_own_size() -> None:
    prior, x, rgb = analytic(), images(), randn(2, 3, 8, 8, seed=2)
    query = Query(prior, conditions_of(prior), 0.3, torch.Generator().manual_seed(0), rgb=rgb)
    answer = hifa(weight=time.sbar, image_weight=2.0)(query, x)
    seen = F.interpolate(answer.probe["x0"], (8, 8), mode="bilinear", antialias=True)
    assert close(answer.grad_rgb, 2.0 * (rgb - seen) / 2)
    blind = Query(prior, conditions_of(prior), 0.3, torch.Generator().manual_seed(0))
    assert hifa(image_weight=0.0)(blind, x).grad_rgb is None
    with pytest.raises(ValueError, match="needs the render"):
        hifa()(blind, x)


def test_hifa_anneals_with_the_root_of_progress() -> None:
    for progress, t in [(0.0, 0.98), (0.25, 0.64), (0.81, 0.368)]:
        assert close(ask(hifa(), images(), progress=progress).probe["t"], times(t))


def test_several_stochastic_steps_see_the_same_image_of_a_gaussian_on_average() -> None:
    """E[D] is the one-step D; z spreads it by sbar_s sqrt(1 - sbar_s^2 / sbar_t^2) std^2 / (std^2 + sbar_s^2)."""
    std, t, s = 0.6, times(0.9, MANY), times(0.4, MANY)
    prior = AnalyticPrior(gaussian(randn(*SHAPE), std), NULL, LEVELS)
    x_t = images(1).expand(MANY, -1, -1, -1)
    query = Query(prior, conditions_of(prior, MANY), 0.0, torch.Generator().manual_seed(0))
    eps = pixels.denoised(1.0, 2)(query, Noised(x_t, t, t, x_t, x_t))
    found = LEVELS.clean(x_t, eps, t)
    expected = LEVELS.clean(x_t[:1], prior.eps(x_t[:1], t[:1], prior.text)[0], t[:1])[0]
    high, low = (float(LEVELS.sbar(level[:1], x_t)) for level in (t, s))
    deviation = low * (1 - low**2 / high**2) ** 0.5 * std**2 / (std**2 + low**2)
    check_mean_and_deviation(found, expected, deviation)


def test_denoising_takes_as_many_queries_as_there_are_times_left() -> None:
    for progress, calls in [(0.0, 4), (0.25, 3), (1.0, 2)]:  # t = .98, .64, .3 on a grid of quarters
        prior = analytic()
        ask(hifa(denoising_steps=4), images(), prior, progress)
        assert prior.calls == calls
    with pytest.raises(ValueError, match="at least one step"):
        hifa(denoising_steps=0)


def check_mean_and_deviation(found: torch.Tensor, mean: torch.Tensor, deviation: float) -> None:
    """Means within five standard errors of `mean`, elementwise, and deviations within 1 % of `deviation`."""
    assert float((found.mean(0) - mean).abs().max()) < 5 * deviation / len(found) ** 0.5 + 1e-12
    assert float(found.std(0).mean()) == pytest.approx(deviation, rel=0.01, abs=1e-12)


def test_I14_vsd_with_a_score_of_each_render_is_sds() -> None:
    found = ask(vsd(Renders(images()[0])), images())
    assert close(found.grad, ask(sds(scale=7.5, t_max=0.5), images()).grad)


def test_I14_esd_is_affine_in_lam_and_vsd_where_lam_is_zero() -> None:
    def grad(lam: float, cameras: list[bool]) -> torch.Tensor:
        renders = Renders(images()[0])
        answer = ask(esd(renders, lam=lam), images())
        assert renders.cameras == cameras, "a branch of no weight is not computed"
        return answer.grad

    vsd_grad, crowd_grad = grad(0.0, [True]), grad(1.0, [False])
    assert torch.equal(vsd_grad, ask(vsd(Renders(images()[0])), images()).grad)
    assert not close(vsd_grad, crowd_grad, 0.1)
    assert close(grad(0.3, [False, True]), 0.7 * vsd_grad + 0.3 * crowd_grad)


def test_the_learner_is_shown_to_the_loop() -> None:
    renders = Renders(images()[0])
    assert vsd(renders).learner is renders
    assert esd(renders).learner is renders


@pytest.mark.parametrize("own", [0.3, 0.6])
def test_expected_gradient_and_variance_of_a_learned_score_on_gaussians(own: float) -> None:
    """E = w sbar [(x - mu) / (s^2 + sbar^2) - (x - m) / (q^2 + sbar^2)]: no variance where both are as wide, q = s."""
    mean, renders, std, t = randn(*SHAPE), randn(*SHAPE, seed=2), 0.6, 0.4
    prior = AnalyticPrior(gaussian(mean, std), NULL, LEVELS)
    x = images(1).expand(MANY, -1, -1, -1)
    method = esd(Renders(renders, own), lam=1.0, scale=1.0, t_min=t, t_max_late=t, weight=time.sbar)
    found = MANY * ask(method, x, prior).grad
    sbar = float(LEVELS.sbar(times(t, 1), x))
    mine, theirs = 1 / (std**2 + sbar**2), 1 / (own**2 + sbar**2)
    expected = sbar**2 * ((x[0] - mean) * mine - (x[0] - renders) * theirs)
    check_mean_and_deviation(found, expected, sbar**3 * abs(mine - theirs))


@pytest.mark.parametrize("wide", [0.6, 1.1])
def test_expected_gradient_and_variance_of_csd_on_gaussians(wide: float) -> None:
    """E = w sbar [(x - mu) / (s^2 + sbar^2) - (x - m) / (q^2 + sbar^2)], the noise all but gone; gone where q = s."""
    mean, null, std, t = randn(*SHAPE), randn(*SHAPE, seed=2), 0.6, 0.4
    prior = AnalyticPrior(gaussian(mean, std), gaussian(null, wide), LEVELS)
    x = images(1).expand(MANY, -1, -1, -1)
    found = MANY * ask(csd(t_min=t, t_max=t), x, prior).grad
    sbar = float(LEVELS.sbar(times(t, 1), x))
    text, free = 1 / (std**2 + sbar**2), 1 / (wide**2 + sbar**2)
    check_mean_and_deviation(found, sbar * ((x[0] - mean) * text - (x[0] - null) * free), sbar**2 * abs(text - free))


@pytest.mark.parametrize("t", [0.1, 0.4])
def test_expected_gradient_and_variance_of_nfsd_on_gaussians(t: float) -> None:
    """E = w sbar [(d - g) (x - m) / (q^2 + sbar^2) + g (x - mu) / (s^2 + sbar^2)], d = 1 below the switch, else 0."""
    mean, null, std, wide, scale = randn(*SHAPE), randn(*SHAPE, seed=2), 0.6, 1.1, 3.0
    prior = AnalyticPrior(gaussian(mean, std), gaussian(null, wide), LEVELS)
    x = images(1).expand(MANY, -1, -1, -1)
    found = MANY * ask(nfsd(scale=scale, t_min=t, t_max=t, weight=time.constant), x, prior).grad
    sbar = float(LEVELS.sbar(times(t, 1), x))
    text, free = scale / (std**2 + sbar**2), ((t < 0.2) - scale) / (wide**2 + sbar**2)
    check_mean_and_deviation(found, sbar * ((x[0] - mean) * text + (x[0] - null) * free), sbar**2 * abs(text + free))


def test_I16_csd_without_a_negative_prompt_is_the_slope_of_sds_over_its_scale() -> None:
    once, twice = (ask(sds(scale=scale, weight=time.constant), images()).grad for scale in (1.0, 2.0))
    assert close(ask(csd(negative_share=0.0), images()).grad, twice - once)
    prior = analytic()
    assert close(ask(csd(), images(), prior, progress=0.0, null=NEGATIVE).grad, twice - once)
    assert prior.rows == 4, "a negative prompt that weighs nothing is not computed"


@pytest.mark.parametrize(("progress", "share"), [(0.2, 0.4), (0.3, 0.6), (0.8, 1.0)])
def test_csd_leads_away_from_the_negative_prompt_more_and_more(progress: float, share: float) -> None:
    answer = ask(csd(), images(), progress=progress, null=NEGATIVE)
    text, empty, negative = analytic().eps(answer.probe["x_t"], answer.probe["t"], TEXT, NULL, NEGATIVE)
    assert close(2 * answer.grad, text - share * negative - (1 - share) * empty)


def test_the_coefficients_of_csd_sum_to_zero() -> None:
    answer = ask(csd(negative_share=0.7), images(), null=TEXT, empty=TEXT)
    assert float(answer.grad.abs().max()) == 0


@pytest.mark.parametrize("perpendicular", [(), ((SIDE, times(-1.5)),)])
def test_I17_nfsd_at_small_t_is_guidance_with_no_noise_subtracted(perpendicular: tuple[Any, ...]) -> None:
    answer = ask(nfsd(t_max=0.199), images(), perpendicular=perpendicular)
    x_t, t, prior = answer.probe["x_t"], answer.probe["t"], analytic()
    guided = scores.guided_eps(prior, x_t, t, conditions_of(prior, perpendicular=perpendicular), 7.5)
    assert close(2 * answer.grad, LEVELS.sigma(t, x_t) ** 2 * guided)


def test_nfsd_switches_for_each_image_alone() -> None:
    t = torch.tensor([0.199, 0.2], dtype=torch.float64)
    method = replace(nfsd(scale=3.0, weight=time.constant), time=lambda *_: t)
    answer = ask(method, images(), null=NEGATIVE)
    text, empty, negative = analytic().eps(answer.probe["x_t"], t, TEXT, NULL, NEGATIVE)
    low, high = 2 * answer.grad
    assert close(low, empty[0] + 3 * (text - empty)[0])
    assert close(high, (empty - negative)[1] + 3 * (text - empty)[1])


@pytest.mark.parametrize(
    ("method", "rows", "negative_rows", "perp_neg_rows"), [(sds(), 2, 2, 4), (nfsd(), 2, 3, 5), (csd(), 2, 3, 5)]
)
def test_rows_of_the_network(method: Method, rows: int, negative_rows: int, perp_neg_rows: int) -> None:
    views = ((SIDE, times(-1.0)), (gaussian(randn(*SHAPE), 0.5), times(-1.0)))
    for expected, changes in [
        (rows, {}),
        (negative_rows, {"null": NEGATIVE}),
        (perp_neg_rows, {"null": NEGATIVE, "perpendicular": views}),
    ]:
        prior = analytic()
        ask(method, images(), prior, **changes)
        assert (prior.calls, prior.rows) == (1, 2 * expected)


@pytest.mark.parametrize(("method", "when"), [(vsd(Renders(images()[0])), 0.2), (csd(), 0.5)])
def test_the_window_of_times_shrinks_late_in_the_run(method: Distillation, when: float) -> None:
    prior = analytic()
    for progress, t_max in [(when - 0.01, 0.98), (when, 0.5)]:
        query = Query(prior, conditions_of(prior), progress, torch.Generator().manual_seed(0))
        drawn = method.time(query, 1000)
        assert 0.02 <= float(drawn.min()) < 0.03
        assert t_max - 0.01 < float(drawn.max()) <= t_max


def test_guidance_may_follow_a_course() -> None:
    follows = replace(sds(), target=scores.guided(time.linear(101.0, 51.0, until=0.6)))
    for progress, scale in [(0.0, 101.0), (0.3, 76.0), (0.6, 51.0), (0.9, 51.0)]:
        assert close(
            ask(follows, images(), progress=progress).grad, ask(sds(scale=scale), images(), progress=progress).grad
        )
