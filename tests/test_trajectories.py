"""ISM, ASD, Consistent3D, DSD and SDI's noise choices: identities I-9, I-10, I-18, I-19, I-21 to I-23, I-26."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from conftest import SHAPE, analytic, query, randn, times
from scoredistill.methods.choices import chosen
from test_schedule import close

from scoredistill import schedule
from scoredistill.camera import ring
from scoredistill.contracts import Conditions, Query
from scoredistill.methods import noise, ode, scores, second, time
from scoredistill.methods.catalogue import asd, consistent3d, dsd, ism, sdi, sds
from scoredistill.methods.distillation import Distillation
from scoredistill.priors.analytic import AnalyticPrior, gaussian

LEVELS = schedule.scaled_linear()
ISM_AS_IS = {"form": "paper", "factor": 1.0}


def at(t: float) -> dict[str, float]:
    return {"t_min": t, "t_max": t}


def gradient(method: Distillation, x: torch.Tensor, asked: Query) -> torch.Tensor:
    """G itself: the batch reduction undone."""
    return len(x) * method(asked, x).grad


def of_views(prior: AnalyticPrior, count: int, **changes: object) -> Query:
    """A query about `count` views of one scene."""
    return replace(query(prior, count=count), cameras=ring(count, 64), **changes)


def perp_neg(prior: AnalyticPrior) -> Conditions:
    view = gaussian(randn(*SHAPE, seed=5), 0.5)
    return replace(query(prior).conditions, perpendicular=((view, times(-1.5)),))


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_I9_dsd_in_as_many_steps_as_its_ode_is_ddim_at_every_iterate(scale: float, rounding: str) -> None:
    prior, like, steps = analytic(), randn(2, *SHAPE), 10
    asked = query(prior)
    grid = [LEVELS.snap(times(0.999 * (1 - k / steps))) for k in range(steps + 1)]
    x_t, expected = noise.asset_noise(asked, like), []
    for t, s in itertools.pairwise([*grid, grid[-1]]):
        eps = scores.guided_eps(prior, x_t, t, asked.conditions, scale)
        expected.append(LEVELS.clean(x_t, eps, t))
        x_t = LEVELS.move(x_t, eps, t, s)
    found = list(ode.dsd_2d(asked, like, scale=scale, steps=steps, ode_steps=steps, rounding=rounding))
    assert len(found) == steps
    assert all(close(x, ddim, 1e-9) for x, ddim in zip(found, expected[1:], strict=True))


def test_I10_an_asset_is_its_noise_and_the_order_of_views_is_nothing() -> None:
    prior, x, method = analytic(), randn(2, *SHAPE), dsd()
    one = gradient(method, x, query(prior, seed=1))
    assert torch.equal(one, gradient(method, x, query(prior, seed=2)))
    assert not close(one, gradient(method, x, replace(query(prior), asset=1)), 0.1)
    views = gradient(method, x, of_views(prior, 2))
    assert close(views.flip(0), gradient(method, x.flip(0), of_views(prior, 2)), 1e-12)


def test_asset_noise_is_one_for_all_views_and_one_for_each_flat_image() -> None:
    prior, x = analytic(), randn(4, *SHAPE)
    flat, views = noise.asset_noise(query(prior, count=4), x), noise.asset_noise(of_views(prior, 4), x)
    assert torch.equal(views, views[:1].expand_as(views))
    assert not torch.equal(flat[0], flat[1])
    assert torch.equal(views[:2], noise.asset_noise(of_views(prior, 2), x[:2]))


def test_I18_asd_without_a_second_time_is_the_classifier() -> None:
    prior, x, t = analytic(), randn(2, *SHAPE), 0.5
    window = {"t_min_start": t, "t_min": t, "t_max": t, "t_max_late": t}
    assert not gradient(asd(scale=1.0, delta=0.0, **window), x, query(prior)).any()
    answer = asd(scale=7.5, delta=0.0, **window)(query(prior), x)
    null, text = prior.eps(answer.probe["x_t"], times(t), prior.null, prior.text)
    assert close(2 * answer.grad, LEVELS.sigma(times(t), x) ** 2 * 6.5 * (text - null))


def test_asd_halves_perp_neg_in_the_target_and_has_none_in_the_reference() -> None:
    prior, x, t = analytic(), randn(2, *SHAPE), 0.5
    conditions = perp_neg(prior)
    method = asd(delta=0.0, t_min_start=t, t_min=t, t_max=t, t_max_late=t)
    answer = method(replace(query(prior), conditions=conditions), x)
    half = replace(conditions, perpendicular=((conditions.perpendicular[0][0], times(-0.75)),))
    target = scores.guided_eps(prior, answer.probe["x_t"], times(t), half, 7.5)
    text = prior.eps(answer.probe["x_t"], times(t), prior.text)[0]
    assert close(2 * answer.grad, LEVELS.sigma(times(t), x) ** 2 * (target - text))


def test_asd_window_slides_and_its_second_time_stays_near() -> None:
    prior, method = analytic(), asd()
    for progress, low, high in [(0.0, 0.5, 0.98), (1.0, 0.02, 0.5)]:
        asked = query(prior, progress=progress)
        t = method.time(asked, 4000)
        assert low <= float(t.min()) < low + 0.01 < high - 0.01 < float(t.max()) <= high
        r = method.level(asked, t)
        assert bool((r >= t).all())
        assert bool((r <= t + 0.1 * (t - low)).all())


def test_I19_dsd_without_a_second_time_is_the_classifier_with_perp_neg() -> None:
    prior, x, t = analytic(), randn(2, *SHAPE), 0.5
    conditions = perp_neg(prior)
    asked = replace(query(prior), conditions=conditions)
    answer = dsd(delta=0.0, **at(t))(asked, x)
    unguided = scores.guided_eps(prior, answer.probe["x_t"], times(t), conditions, 0.0)
    direction = scores.guided_eps(prior, answer.probe["x_t"], times(t), conditions, 1.0) - unguided
    assert close(2 * answer.grad, LEVELS.sigma(times(t), x) ** 2 * 6.5 * direction)


def test_dsd_second_time_is_ahead_by_a_table_entry_at_least() -> None:
    prior, late = analytic(), times(0.32)
    fixed, random = (dsd(delta_mode=mode).level for mode in ("fixed", "random"))
    assert close(fixed(query(prior), late), late + 0.001)
    assert close(fixed(query(prior), times(0.82)), times(0.87))
    r = random(query(prior, count=4000), times(0.82, 4000))
    assert 0.821 <= float(r.min()) < 0.822
    assert 0.869 < float(r.max()) < 0.87
    assert float(LEVELS.snap(fixed(query(prior), times(0.98)))[0]) == 0.999


@pytest.mark.parametrize("noise_source", ["fixed", "random", "ode"])
@pytest.mark.parametrize("std", [0.1, 1.0, 3.0, 30.0])
def test_dsd_of_equal_guidance_pulls_to_the_mode_only_while_sbar_t_sbar_r_exceeds_its_variance(
    std: float, noise_source: str
) -> None:
    """Of a Gaussian N(mu, s^2): dG/dx = w [f(t) - f(r)], f = sbar / (s^2 + sbar^2). Flat images keep to their ODE and
    need no pull; a scene that many views share strays from it, and is pushed on: hence a less guided reference there.
    """
    mode = gaussian(randn(*SHAPE), std)
    prior, x, step = AnalyticPrior(mode, mode, LEVELS), randn(2, *SHAPE, seed=1), randn(2, *SHAPE, seed=2)
    method = dsd(scale=1.0, ode_scale=1.0, delta=0.5, noise_source=noise_source, t_min=0.1, t_max=0.9, law="linear")
    t, r = (LEVELS.snap(times(level)) for level in (0.5, 0.7))
    pull = [LEVELS.sbar(level, x) / (std**2 + LEVELS.sbar(level, x) ** 2) for level in (t, r)]
    slope = LEVELS.sigma(t, x) ** 2 * (pull[0] - pull[1])
    moved = gradient(method, x + step, query(prior, 0.5)) - gradient(method, x, query(prior, 0.5))
    assert close(moved, slope * step, 1e-9)
    assert bool((slope > 0).all()) == bool((LEVELS.sbar(t, x) * LEVELS.sbar(r, x) > std**2).all())


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_I21_consistent3d_regresses_the_cleaner_prediction_onto_the_noisier(progress: float) -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    asked = query(prior, progress=progress)
    s = LEVELS.snap(times(0.7 - 0.6 * progress**0.5))
    scale, t = 101 - 50 * progress, LEVELS.snap((s + 0.2).clamp(max=0.98))
    method = consistent3d(gap_min=0.2, gap_max=0.2, clip_start=1e9, clip_end=1e9)
    assert close(method.time(asked, 2), t, 2e-3)
    grad = gradient(replace(method, time=lambda query, batch: t), x, asked)
    x_t = LEVELS.diffuse(x, noise.asset_noise(asked, x), t)
    eps_t = scores.guided_eps(prior, x_t, t, asked.conditions, scale)
    x_s = LEVELS.move(x_t, eps_t, t, s)
    eps_s = scores.guided_eps(prior, x_s, s, asked.conditions, scale)
    assert close(grad, eps_t - eps_s)
    moved = LEVELS.clean(x_s, eps_s, s) - LEVELS.clean(x_t, eps_t, t)
    assert close(-LEVELS.sbar(s, x) * grad, -moved)
    clipped = gradient(consistent3d(gap_min=0.2, gap_max=0.2, clip_start=1e-3, clip_end=1e-3), x, asked)
    assert float(clipped.abs().max()) <= 1e-3


def test_I22_sdi_with_fresh_noise_is_sds_bit_for_bit() -> None:
    prior, x, window = analytic(), randn(2, *SHAPE), {"scale": 101.0, "t_min": 0.02, "t_max": 0.98}
    form = sdi(noise_source="random", anneal=False, weight=time.sigma_squared, **window)
    assert torch.equal(gradient(form, x, query(prior, seed=5)), gradient(sds(**window), x, query(prior, seed=5)))


def test_I23_sdi_of_one_inversion_step_is_ism() -> None:
    levels = schedule.cosine()  # its lowest level has sbar = 0, as the identity asks
    prior, x, t = analytic(levels), randn(2, *SHAPE), 0.5
    one_step = sdi(inversion_scale=7.5, steps_per_unit=2.0, tau=0.0, entropy=0.0, **at(t))
    its_interval = ism(inversion_scale=7.5, delta=t, **ISM_AS_IS, **at(t))
    assert close(gradient(its_interval, x, query(prior)), gradient(one_step, x, query(prior)), 1e-12)
    several = sdi(inversion_scale=7.5, steps_per_unit=10.0, tau=0.0, entropy=0.0, **at(t))
    assert not close(gradient(its_interval, x, query(prior)), gradient(several, x, query(prior)), 1e-2)


def test_ism_step_by_step_and_its_cost() -> None:
    prior, x, t = analytic(), randn(2, *SHAPE), times(0.75)
    asked = query(prior)
    answer = ism(delta=0.05, **ISM_AS_IS, **at(0.75))(asked, x)
    assert prior.calls == 6  # at 0, .2, .4, .6, the interval's at .7, the target's
    x_s, grid = LEVELS.alpha(times(0.0), x) * x, [times(s) for s in (0.0, 0.2, 0.4, 0.6, 0.7)]
    for low, high in itertools.pairwise(grid):
        x_s = LEVELS.move(x_s, prior.eps(x_s, low, prior.null)[0], low, high)
    eps_s = prior.eps(x_s, grid[-1], prior.null)[0]
    x_t = LEVELS.move(x_s, eps_s, grid[-1], t)
    assert close(answer.probe["x_t"], x_t)
    target = scores.guided_eps(prior, x_t, t, asked.conditions, 7.5)
    assert close(2 * answer.grad, LEVELS.sbar(t, x) * (target - eps_s))
    tenth = ism(**(ISM_AS_IS | {"factor": 0.1}), **at(0.75))
    assert close(20 * tenth(query(prior), x).grad, 2 * answer.grad)


def test_ism_inverts_under_the_empty_prompt_and_leads_away_from_the_negative_one() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    negative = gaussian(randn(*SHAPE, seed=3), 0.7)
    asked = replace(query(prior), conditions=replace(query(prior).conditions, null=negative))
    method, plain = ism(**ISM_AS_IS, **at(0.75)), query(prior)
    answers = [method(one, x) for one in (asked, plain)]
    assert torch.equal(*(one.memory["interval"] for one in (asked, plain)))
    assert not close(answers[0].grad, answers[1].grad, 1e-2)


def test_ism_code_shares_t_warms_up_and_starts_noisy() -> None:
    prior, method = analytic(), ism()
    for progress, high, delta in [(0.0, 0.98, 0.1), (0.3, 0.5, 0.05), (0.9, 0.5, 0.05)]:
        asked = query(prior, progress=progress)
        drawn = torch.stack([method.time(asked, 3) for _ in range(2000)])
        assert torch.equal(drawn, drawn[:, :1].expand_as(drawn))
        assert 0.02 <= float(drawn.min()) < 0.03
        assert high - 0.01 < float(drawn.max()) <= high
        assert close(method.level(asked, times(0.4)), times(0.4 - delta))
    x = randn(2000, *SHAPE)
    t, zero = times(0.001, 2000), times(0.0, 2000)  # one short step: the start noise as good as alone
    asked = query(prior, count=2000)
    kappa = noise.interval(start_noise=0.1)(asked, x, t, zero) - noise.interval()(asked, x, t, zero)
    start = kappa * LEVELS.sbar(t, x) / LEVELS.sbar(zero, x)
    shift = start.mean((0, 2, 3))
    spread = start - shift.reshape(1, -1, 1, 1)
    assert float(spread.std()) == pytest.approx(1.0, abs=0.1)
    assert 0 < float(shift.abs().max()) < 0.5


DETERMINISTIC = {
    "ism": ism(**ISM_AS_IS),
    "consistent3d": consistent3d(),
    "sdi": sdi(entropy=0.0, tau=0.0),
    "sdi, fixed": sdi(noise_source="fixed"),
    "dsd": dsd(),
    "dsd, cleaner": dsd(rounding="ceil"),
    "dsd, exact": dsd(ode_end="exact"),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_batch_of_two_views_equals_two_batches_of_one(name: str) -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    t = torch.tensor([0.31, 0.94], dtype=torch.float64)
    together = gradient(replace(DETERMINISTIC[name], time=lambda query, batch: t), x, of_views(prior, 2))
    for row in range(2):
        one = slice(row, row + 1)
        method = replace(DETERMINISTIC[name], time=lambda query, batch, one=one: t[one])
        assert close(together[one], gradient(method, x[one], of_views(prior, 1)), 1e-11)


def test_dsd_direction_on_the_grid_and_at_the_exact_time() -> None:
    prior, x = analytic(), randn(3, *SHAPE)
    asked = query(prior, count=3)
    r = torch.tensor([0.999, 0.7, 0.09], dtype=torch.float64)
    grid = ode.grid(LEVELS, 10)
    assert (1000 * grid).round().long().tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    places = {rule.__name__: rule(grid, r).tolist() for rule in (ode.noisier, ode.cleaner, ode.before)}
    assert places == {"noisier": [0, 2, 9], "cleaner": [0, 3, 9], "before": [0, 2, 9]}
    points, predictions = ode.trajectory(asked, noise.asset_noise(asked, x), grid, 7.5)
    for rounding, k in [("floor", [0, 2, 9]), ("ceil", [0, 3, 9])]:
        found = ode.direction(7.5, 10, "grid", rounding)(asked, x, r, r)
        assert torch.equal(found, predictions[k, range(3)])
    exact = ode.direction(7.5, 10, "exact")(asked, x, r, r)
    k = [0, 2, 9]
    x_r = LEVELS.move(points[k, range(3)], predictions[k, range(3)], grid[k], r)
    assert close(exact, scores.guided_eps(prior, x_r, r, asked.conditions, 7.5))
    assert close(exact[0], predictions[0, 0])


@pytest.mark.parametrize("end", ["grid", "exact"])
def test_remembered_trajectories_change_no_bit(end: str) -> None:
    prior, remembering, forgetting = analytic(), dsd(ode_end=end), dsd(ode_end=end)
    memory: dict[str, torch.Tensor] = {}
    looks = [("front", "side"), ("side", "back"), ("back", "front"), ("side", "side")]
    for step in range(12):
        x, progress = randn(2, *SHAPE, seed=step), 1 - step / 12  # back in time, so that later points are known first
        conditions = replace(query(prior).conditions, keys=looks[step % 4])
        asked = of_views(prior, 2, conditions=conditions, progress=progress, memory=memory)
        anew = replace(asked, conditions=replace(conditions, keys=None), memory={})
        assert torch.equal(remembering(asked, x).grad, forgetting(anew, x).grad)
    assert not any(name.startswith("ode") for name in anew.memory)


def test_flat_images_and_words_have_trajectories_of_their_own() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    flat = query(prior)
    dsd()(flat, x)
    kept = [flat.memory[f"ode 0 of asset {row}, "] for row in range(2)]  # [2 C h w]: point and prediction
    assert not torch.equal(*kept)
    views = of_views(prior, 2, conditions=replace(flat.conditions, keys=("front", "back")))
    dsd()(views, x)
    assert {"ode 0 of asset 0, front", "ode 0 of asset 0, back"} <= views.memory.keys()


def test_dsd_on_the_grid_costs_two_calls_an_update_and_a_little() -> None:
    prior, x, method = analytic(), randn(1, *SHAPE), dsd()
    memory: dict[str, torch.Tensor] = {}
    looks = ("front", "side", "back", "overhead")
    for step in range(1000):  # all that a run asks of its ODE
        conditions = replace(query(prior, count=1).conditions, keys=(looks[step * 7 % 4],))
        asked = of_views(prior, 1, conditions=conditions, progress=step / 1000, memory=memory)
        t = LEVELS.snap(method.time(asked, 1))
        method.noise(asked, x, t, LEVELS.snap(method.level(asked, t)))
    simulated, prior.calls = prior.calls, 0
    assert simulated == 28  # 999, 899, ..., 399 for each of four looks
    method(asked, x)
    assert prior.calls == 2  # target and reference, always
    assert 2 + simulated / 1000 <= 2.5
    prior.calls = 0
    method(replace(asked, conditions=replace(conditions, keys=None)), x)
    assert prior.calls == 9  # without memory


@pytest.mark.parametrize(("scale", "rho"), [(1.0, 1 / (0.01 + 1)), (7.5, -6.5 / 2 + 7.5 / 1.01)])
def test_I26_fixed_points_contract_without_guidance_and_diverge_with_it(scale: float, rho: float) -> None:
    levels = schedule.karras(sbar_min=1.0, sbar_max=2.0)  # sbar = 1 at t = 0, the example of METHODS 5.6
    mean, x, t = randn(*SHAPE), randn(1, *SHAPE, seed=1), times(0.0, 1)
    prior = AnalyticPrior(gaussian(mean, 0.1), gaussian(mean, 1.0), levels)
    spread = []
    for steps in (0, 1, 4):
        rule = noise.fixed_point(steps, scale)
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

    start, end = (noise.sgd(n, rate, 1.0)(query(prior), x, t, t) for n in (0, steps))
    share = std**2 / (std**2 + sbar**2)
    assert close(residual(end), (1 - 2 * rate * share**2 / mean.numel()) ** steps * residual(start))
    assert not end.requires_grad


@pytest.mark.parametrize("source", ["inversion", "random", "fixed", "fixed_point", "sgd"])
def test_sdi_noise_sources_differ_in_what_the_dice_decide_and_in_cost(source: str) -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    method = sdi(noise_source=source, entropy=0.0, tau=0.0, noise_steps=3, **at(0.5))
    first, second = (method(query(prior, seed=seed), x).probe["kappa"] for seed in (1, 2))
    assert torch.equal(first, second) is (source in ("inversion", "fixed"))
    assert prior.calls / 2 == {"inversion": 6, "random": 1, "fixed": 1, "fixed_point": 4, "sgd": 4}[source]


def test_B1_the_official_slip_feeds_the_image_of_another_level() -> None:
    prior, x, t, r = analytic(), randn(2, *SHAPE), times(0.5), times(0.55)
    form = sdi(entropy=0.0, tau=0.0, bug_compat=True, **at(0.5))
    answer = replace(form, level=lambda query, t: r)(query(prior), x)
    kappa = noise.inversion(entropy=0.0)(query(prior), x, t, r)
    x_r = LEVELS.diffuse(x, kappa, r)
    assert close(answer.probe["x_t"], x_r)
    eps = scores.guided_eps(prior, x_r, t, query(prior).conditions, 7.5)
    assert close(2 * answer.grad, x - (x_r - LEVELS.sigma(t, x) * eps) / LEVELS.alpha(t, x))
    assert float(LEVELS.alpha(r, x)[0] / LEVELS.alpha(t, x)[0]) == pytest.approx(0.88, abs=0.01)


def test_unknown_choices_name_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown law 'cubic'; choose one of sqrt, linear") as error:
        chosen("law", "cubic", {"sqrt": 1, "linear": 2})
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="at least one step, got 0"):
        ode.grid(LEVELS, 0)
    with pytest.raises(ValueError, match="positive stride, got 0"):
        noise.strides(analytic(), times(0.5), 0.0)


def test_second_times_of_ism_stop_at_the_lowest_level() -> None:
    assert second.behind(0.1)(query(analytic()), times(0.05)).tolist() == [0.0, 0.0]
