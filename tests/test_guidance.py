"""Guidance and Perp-Neg: identities I-20 and I-30 of METHODS, and the rows that the network computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import analytic, query, randn, times
from test_schedule import close

from scoredistill import schedule
from scoredistill.contracts import Method
from scoredistill.methods import timesteps
from scoredistill.methods.csd import CSD
from scoredistill.methods.guidance import guided, guided_eps, perpendicular
from scoredistill.methods.nfsd import NFSD
from scoredistill.methods.sds import SDS
from scoredistill.priors.analytic import gaussian

LEVELS = schedule.scaled_linear()


def test_I20_perp_neg_is_orthogonal_and_vanishes_with_its_weights() -> None:
    positive, negative = randn(2, 2, 3, 3), randn(2, 2, 3, 3, seed=1)
    rest = perpendicular(negative, positive)
    inner = (rest * positive).flatten(1).sum(1)
    assert float(inner.abs().max()) < 1e-12
    prior, x_t = analytic(), randn(2, 2, 3, 3)
    plain = query(prior).conditions
    view = gaussian(randn(2, 3, 3, seed=5), 0.5)
    for weight, same in [(0.0, True), (-1.5, False)]:
        perp = replace(plain, perpendicular=((view, times(weight)),))
        with_perp = guided_eps(prior, x_t, times(0.5), perp, 7.5)
        assert close(with_perp, guided_eps(prior, x_t, times(0.5), plain, 7.5)) is same


def test_I30_threestudio_scale_is_one_less_than_canonical() -> None:
    prior, x_t, t = analytic(), randn(2, 2, 3, 3), times(0.5)
    null, text = prior.eps(x_t, t, prior.null, prior.text)
    assert close(guided_eps(prior, x_t, t, query(prior).conditions, 8.5), text + 7.5 * (text - null))


@pytest.mark.parametrize(
    ("method", "rows", "negative_rows", "perp_neg_rows"), [(SDS(), 2, 2, 4), (NFSD(), 2, 3, 5), (CSD(), 2, 3, 5)]
)
def test_rows_of_the_network(method: Method, rows: int, negative_rows: int, perp_neg_rows: int) -> None:
    negative, side, back = (gaussian(randn(2, 3, 3, seed=seed), 0.5) for seed in (1, 2, 3))
    views = ((side, times(-1.0)), (back, times(-1.0)))
    for expected, changes in [
        (rows, {}),
        (negative_rows, {"null": negative}),
        (perp_neg_rows, {"null": negative, "perpendicular": views}),
    ]:
        prior = analytic()
        inputs = query(prior)
        method(replace(inputs, conditions=replace(inputs.conditions, **changes)), randn(2, 2, 3, 3))
        assert (prior.calls, prior.rows) == (1, 2 * expected)


def test_guidance_scale_may_depend_on_progress() -> None:
    prior, x = analytic(), randn(2, 2, 3, 3)
    scheduled = replace(SDS().build(), target=guided(timesteps.linear(101.0, 51.0, until=0.6)))
    for progress, scale in [(0.0, 101.0), (0.3, 76.0), (0.6, 51.0), (0.9, 51.0)]:
        expected = SDS(scale=scale)(query(prior, progress), x).grad
        assert close(scheduled(query(prior, progress), x).grad, expected)
