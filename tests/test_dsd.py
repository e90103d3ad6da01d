"""DSD against closed forms, and its cached trajectories: identities I-9, I-10 and I-19 of METHODS."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from conftest import SHAPE, analytic, query, randn, times
from test_schedule import close

from scoredistill import schedule
from scoredistill.camera import ring
from scoredistill.contracts import Method, Query
from scoredistill.methods.consistent3d import Consistent3D
from scoredistill.methods.dsd import (
    DSD,
    Trajectories,
    before,
    cleaner,
    dsd_2d,
    noisier,
    ode_direction,
    ode_grid,
    trajectory,
)
from scoredistill.methods.guidance import guided_eps
from scoredistill.methods.noise import asset_noise
from scoredistill.methods.sdi import SDI
from scoredistill.priors.analytic import AnalyticPrior, gaussian

LEVELS = schedule.scaled_linear()


def at(t: float) -> dict[str, float]:
    """Settings that pin the diffusion time."""
    return {"t_min": t, "t_max": t}


def gradient(method: Method, x: torch.Tensor, inputs: Query) -> torch.Tensor:
    """The sum over the batch: the reduction is undone."""
    return len(x) * method(inputs, x).grad


def of_views(prior: AnalyticPrior, count: int, **changes: object) -> Query:
    """A query with `count` views of one scene."""
    return replace(query(prior, count=count), cameras=ring(count, 64), **changes)


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_I9_dsd_in_as_many_steps_as_its_ode_is_ddim_at_every_iterate(scale: float, rounding: str) -> None:
    prior, like, steps = analytic(), randn(2, *SHAPE), 10
    inputs = query(prior)
    grid = [LEVELS.snap(times(0.999 * (1 - k / steps))) for k in range(steps + 1)]
    x_t, expected = asset_noise(inputs, like), []
    for t, s in itertools.pairwise([*grid, grid[-1]]):
        eps = guided_eps(prior, x_t, t, inputs.conditions, scale)
        expected.append(LEVELS.clean(x_t, eps, t))
        x_t = LEVELS.move(x_t, eps, t, s)
    found = list(dsd_2d(inputs, like, scale=scale, steps=steps, ode_steps=steps, rounding=rounding))
    assert len(found) == steps
    assert all(close(x, ddim, 1e-9) for x, ddim in zip(found, expected[1:], strict=True))


def test_I10_an_asset_is_its_noise_and_the_order_of_views_does_not_matter() -> None:
    prior, x, method = analytic(), randn(2, *SHAPE), DSD()
    one = gradient(method, x, query(prior, seed=1))
    assert torch.equal(one, gradient(method, x, query(prior, seed=2)))
    assert not close(one, gradient(method, x, replace(query(prior), asset_seed=1)), 0.1)
    views = gradient(method, x, of_views(prior, 2))
    assert close(views.flip(0), gradient(method, x.flip(0), of_views(prior, 2)), 1e-12)


def test_I19_dsd_without_a_second_time_is_the_classifier_with_perp_neg() -> None:
    prior, x, t = analytic(), randn(2, *SHAPE), 0.5
    side = gaussian(randn(*SHAPE, seed=5), 0.5)
    conditions = replace(query(prior).conditions, perpendicular=((side, times(-1.5)),))
    inputs = replace(query(prior), conditions=conditions)
    answer = DSD(delta=0.0, **at(t))(inputs, x)
    unguided = guided_eps(prior, answer.probe["x_t"], times(t), conditions, 0.0)
    direction = guided_eps(prior, answer.probe["x_t"], times(t), conditions, 1.0) - unguided
    assert close(2 * answer.grad, LEVELS.sigma(times(t), x) ** 2 * 6.5 * direction)


def test_dsd_second_time_is_ahead_by_a_table_entry_at_least() -> None:
    prior, late = analytic(), times(0.32)
    fixed, random = (DSD(delta_mode=mode).build().second_time for mode in ("fixed", "random"))
    assert close(fixed(query(prior), late), late + 0.001)
    assert close(fixed(query(prior), times(0.82)), times(0.87))
    r = random(query(prior, count=4000), times(0.82, 4000))
    assert 0.821 <= float(r.min()) < 0.822
    assert 0.869 < float(r.max()) < 0.87
    assert float(LEVELS.snap(fixed(query(prior), times(0.98)))[0]) == 0.999


def test_near_the_top_the_random_distance_is_drawn_from_what_is_left() -> None:
    """As in the official code: the range ends at the last time of the table, so that r does not stick to it."""
    prior, t = analytic(), times(0.97, 4000)
    r = DSD(delta_mode="random").build().second_time(query(prior, count=4000), t) - t
    assert float(r.max()) <= 0.029
    assert float(r.mean()) == pytest.approx(0.0145, abs=0.0005)


@pytest.mark.parametrize("noise_source", ["fixed", "random", "ode"])
@pytest.mark.parametrize("std", [0.1, 1.0, 3.0, 30.0])
def test_dsd_of_equal_guidance_pulls_to_the_mode_only_while_sbar_t_sbar_r_exceeds_its_variance(
    std: float, noise_source: str
) -> None:
    """For a Gaussian N(mu, s^2): dG/dx = w [f(t) - f(r)], f = sbar / (s^2 + sbar^2).

    Flat images follow their ODE and need no pull; a scene that many views share strays from it, and the gradient
    pushes it on: hence a less guided reference there.
    """
    mode = gaussian(randn(*SHAPE), std)
    prior, x, step = AnalyticPrior(mode, mode, LEVELS), randn(2, *SHAPE, seed=1), randn(2, *SHAPE, seed=2)
    method = DSD(scale=1.0, ode_scale=1.0, delta=0.5, noise_source=noise_source, t_min=0.1, t_max=0.9, law="linear")
    t, r = (LEVELS.snap(times(level)) for level in (0.5, 0.7))
    pull = [LEVELS.sbar(level, x) / (std**2 + LEVELS.sbar(level, x) ** 2) for level in (t, r)]
    slope = LEVELS.sigma(t, x) ** 2 * (pull[0] - pull[1])
    moved = gradient(method, x + step, query(prior, 0.5)) - gradient(method, x, query(prior, 0.5))
    assert close(moved, slope * step, 1e-9)
    assert bool((slope > 0).all()) == bool((LEVELS.sbar(t, x) * LEVELS.sbar(r, x) > std**2).all())


DETERMINISTIC = {
    "consistent3d": Consistent3D().build(),
    "sdi": SDI(entropy=0.0, tau=0.0).build(),
    "sdi, fixed": SDI(noise_source="fixed").build(),
    "dsd": DSD().build(),
    "dsd, cleaner": DSD(rounding="ceil").build(),
    "dsd, exact": DSD(ode_end="exact").build(),
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
    inputs = query(prior, count=3)
    r = torch.tensor([0.999, 0.7, 0.09], dtype=torch.float64)
    grid = ode_grid(LEVELS, 10)
    assert (1000 * grid).round().long().tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    places = {rule.__name__: rule(grid, r).tolist() for rule in (noisier, cleaner, before)}
    assert places == {"noisier": [0, 2, 9], "cleaner": [0, 3, 9], "before": [0, 2, 9]}
    points, predictions = trajectory(inputs, asset_noise(inputs, x), grid, 7.5)
    for rounding, k in [("floor", [0, 2, 9]), ("ceil", [0, 3, 9])]:
        found = ode_direction(7.5, 10, "grid", rounding)(inputs, x, r, r)
        assert torch.equal(found, predictions[k, range(3)])
    exact = ode_direction(7.5, 10, "exact")(inputs, x, r, r)
    k = [0, 2, 9]
    x_r = LEVELS.move(points[k, range(3)], predictions[k, range(3)], grid[k], r)
    assert close(exact, guided_eps(prior, x_r, r, inputs.conditions, 7.5))
    assert close(exact[0], predictions[0, 0])


@pytest.mark.parametrize("end", ["grid", "exact"])
def test_cached_trajectories_change_no_bit(end: str) -> None:
    prior, method, state = analytic(), DSD(ode_end=end), Trajectories()
    keys = [("front", "side"), ("side", "back"), ("back", "front"), ("side", "side")]
    for step in range(12):
        x, progress = randn(2, *SHAPE, seed=step), 1 - step / 12  # backwards, so that later points are known first
        conditions = replace(query(prior).conditions, keys=keys[step % 4])
        cached = of_views(prior, 2, conditions=conditions, progress=progress, state=state)
        anew = replace(cached, conditions=replace(conditions, keys=None), state=Trajectories())
        assert torch.equal(method(cached, x).grad, method(anew, x).grad)
        assert not anew.state.entries
    assert state.entries


def test_flat_images_and_prompts_have_trajectories_of_their_own() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    flat = replace(query(prior), state=Trajectories())
    DSD()(flat, x)
    first, second = (flat.state.entries[0, asset, ""] for asset in range(2))  # [2 C h w]: point and prediction
    assert not torch.equal(first, second)
    conditions = replace(flat.conditions, keys=("front", "back"))
    views = of_views(prior, 2, conditions=conditions, state=Trajectories())
    DSD()(views, x)
    assert {(0, 0, "front"), (0, 0, "back")} <= views.state.entries.keys()


def test_dsd_on_the_grid_costs_two_calls_an_update_and_a_little() -> None:
    prior, x, method = analytic(), randn(1, *SHAPE), DSD().build()
    state, keys = Trajectories(), ("front", "side", "back", "overhead")
    for step in range(1000):  # every evaluation of the ODE in a run
        conditions = replace(query(prior, count=1).conditions, keys=(keys[step * 7 % 4],))
        inputs = of_views(prior, 1, conditions=conditions, progress=step / 1000, state=state)
        t = LEVELS.snap(method.time(inputs, 1))
        method.noise(inputs, x, t, LEVELS.snap(method.second_time(inputs, t)))
    simulated, prior.calls = prior.calls, 0
    assert simulated == 28  # 999, 899, ..., 399 for each of four prompts
    method(inputs, x)
    assert prior.calls == 2  # target and reference, always
    assert 2 + simulated / 1000 <= 2.5
    prior.calls = 0
    method(replace(inputs, conditions=replace(conditions, keys=None)), x)
    assert prior.calls == 9  # without the cache
