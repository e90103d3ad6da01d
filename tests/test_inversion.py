"""DDIM inversion, the rules of diffusion times, and the noise of an asset."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import SHAPE, analytic, query, randn, times
from test_schedule import close

from benchmarks.inversion_savings import ascend_carrying
from scoredistill.camera import ring
from scoredistill.contracts import Query
from scoredistill.methods import timesteps
from scoredistill.methods.dsd import ode_grid
from scoredistill.methods.inversion import ascend, even_times, invert, strided_times
from scoredistill.methods.ism import ISM
from scoredistill.methods.noise import asset_noise
from scoredistill.priors.analytic import AnalyticPrior


def of_views(prior: AnalyticPrior, count: int, **changes: object) -> Query:
    """A query with `count` views of one scene."""
    return replace(query(prior, count=count), cameras=ring(count, 64), **changes)


def test_a_batch_of_two_equals_two_batches_of_one() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    t = torch.tensor([0.31, 0.94], dtype=torch.float64)
    steps = (10 * t).long()
    conditions = query(prior).conditions
    together = invert(prior, x, even_times(prior, t, steps), conditions, -7.5)
    for row in range(2):
        one = slice(row, row + 1)
        alone = invert(prior, x[one], even_times(prior, t[one], steps[one]), conditions, -7.5)
        assert close(together[one], alone, 1e-14)


def test_an_inversion_that_starts_where_it_ends_evaluates_nothing() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    t, conditions = torch.tensor([0.1, 0.15], dtype=torch.float64), query(prior).conditions
    assert not invert(prior, x, even_times(prior, t, torch.tensor([1, 2]), start=0.2), conditions, -2.5).any()
    assert prior.calls == 0
    half = even_times(prior, torch.tensor([0.1, 0.5]), torch.tensor([1, 2]), start=0.2)
    assert invert(prior, x, half, conditions, -2.5).flatten(1).any(1).tolist() == [False, True]
    assert prior.calls == 2


@pytest.mark.parametrize("space", ["eps", "x0"])
def test_a_direction_evaluated_at_every_step_is_carried_nowhere(space: str) -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    times, conditions = even_times(prior, torch.tensor([0.5, 0.9]), torch.tensor([3, 4]), 0.2), query(prior).conditions
    full, calls = ascend(prior, x, times, conditions, -2.5), prior.rows
    assert close(ascend_carrying(1, space, prior, x, times, conditions, -2.5), full, 1e-12)
    every = prior.rows - calls
    assert not close(ascend_carrying(2, space, prior, x, times, conditions, -2.5), full, 1e-4)
    assert prior.rows - calls - every < every


def test_annealed_time_is_linear_and_uniform_time_stays_in_range() -> None:
    prior = analytic()
    rule = timesteps.annealed(0.98, 0.25)
    assert [float(rule(query(prior, progress=p), 1)) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.98, 0.615, 0.25])
    drawn = timesteps.uniform(0.02, 0.98)(query(prior), 4000)
    assert 0.02 <= float(drawn.min()) < 0.03
    assert 0.97 < float(drawn.max()) <= 0.98


def test_asset_noise_is_one_for_all_views_and_one_for_each_flat_image() -> None:
    prior, x = analytic(), randn(4, *SHAPE)
    flat, views = asset_noise(query(prior, count=4), x), asset_noise(of_views(prior, 4), x)
    assert torch.equal(views, views[:1].expand_as(views))
    assert not torch.equal(flat[0], flat[1])
    assert torch.equal(views[:2], asset_noise(of_views(prior, 2), x[:2]))


def test_grids_without_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one step, got 0"):
        ode_grid(analytic().schedule, 0)
    with pytest.raises(ValueError, match="positive stride, got 0"):
        strided_times(analytic(), times(0.5), 0.0)


def test_second_times_of_ism_stop_at_the_lowest_level() -> None:
    method = ISM(form="paper", delta=0.1, t_min=0.05, t_max=0.05)
    assert method.times(query(analytic()), 2)[1].tolist() == [0.0, 0.0]
