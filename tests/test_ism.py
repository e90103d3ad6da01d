"""ISM step by step, in the paper's form and in the official code's."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from conftest import SHAPE, analytic, query, randn, times
from test_schedule import close

from scoredistill import schedule
from scoredistill.camera import ring
from scoredistill.methods import timesteps
from scoredistill.methods.guidance import guided_eps
from scoredistill.methods.ism import ISM
from scoredistill.priors.analytic import gaussian

LEVELS = schedule.scaled_linear()
AS_WRITTEN = {"form": "paper", "factor": 1.0}
"""The paper's own equation."""


def at(t: float) -> dict[str, float]:
    """Settings that pin the diffusion time."""
    return {"t_min": t, "t_max": t}


def test_ism_step_by_step_and_its_cost() -> None:
    prior, x, t = analytic(), randn(2, *SHAPE), times(0.75)
    inputs = query(prior)
    answer = ISM(delta=0.05, **AS_WRITTEN, **at(0.75))(inputs, x)
    assert prior.calls == 6  # at 0, .2, .4, .6, the interval's at .7, the target's
    x_s, grid = LEVELS.alpha(times(0.0), x) * x, [times(s) for s in (0.0, 0.2, 0.4, 0.6, 0.7)]
    for low, high in itertools.pairwise(grid):
        x_s = LEVELS.move(x_s, prior.eps(x_s, low, prior.null)[0], low, high)
    eps_s = prior.eps(x_s, grid[-1], prior.null)[0]
    x_t = LEVELS.move(x_s, eps_s, grid[-1], t)
    assert close(answer.probe["x_t"], x_t)
    target = guided_eps(prior, x_t, t, inputs.conditions, 7.5)
    assert close(2 * answer.grad, LEVELS.sbar(t, x) * (target - eps_s))
    tenth = ISM(**(AS_WRITTEN | {"factor": 0.1}), **at(0.75))
    assert close(20 * tenth(query(prior), x).grad, 2 * answer.grad)


def test_the_official_gradient_is_the_sum_over_the_views() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    mean, summed = (method(query(prior), x).grad for method in (ISM(), ISM.official()))
    assert torch.equal(summed, 2 * mean)


def test_ism_inverts_under_the_empty_prompt_and_leads_away_from_the_negative_one() -> None:
    prior, x = analytic(), randn(2, *SHAPE)
    negative = gaussian(randn(*SHAPE, seed=3), 0.7)
    with_negative = replace(query(prior), conditions=replace(query(prior).conditions, null=negative))
    method, plain = ISM(**AS_WRITTEN, **at(0.75)), query(prior)
    answers = [method(one, x) for one in (with_negative, plain)]
    assert torch.equal(*(answer.probe["kappa"] for answer in answers))
    weight = LEVELS.sbar(times(0.75), x)
    first, second = (answer.probe["eps"] - 2 * answer.grad / weight for answer in answers)
    assert close(first, second, 1e-12)  # eps_s, the reference
    assert not close(answers[0].grad, answers[1].grad, 1e-2)


def test_a_batch_of_two_views_equals_two_batches_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, x, method = analytic(), randn(2, *SHAPE), ISM(**AS_WRITTEN, t_min=0.0, t_max=1.0)
    t = torch.tensor([0.31, 0.94], dtype=torch.float64)  # of the window [0, 1] these shares are the times themselves

    def gradient(part: slice) -> torch.Tensor:
        monkeypatch.setattr(timesteps, "draw", lambda query, batch: t[part])
        count = len(x[part])
        answer = method(replace(query(prior, count=count), cameras=ring(count, 64)), x[part])
        assert torch.equal(answer.probe["t"], t[part])
        return count * answer.grad

    together = gradient(slice(0, 2))
    assert close(together[:1], gradient(slice(0, 1)), 1e-11)
    assert close(together[1:], gradient(slice(1, 2)), 1e-11)


def test_the_code_form_of_ism_shares_t_and_warms_up() -> None:
    prior, method = analytic(), ISM()
    for progress, high, delta in [(0.0, 0.98, 0.1), (0.3, 0.5, 0.05), (0.9, 0.5, 0.05)]:
        inputs = query(prior, progress=progress)
        t, s = (torch.stack(drawn) for drawn in zip(*(method.times(inputs, 3) for _ in range(500)), strict=True))
        assert torch.equal(t, t[:, :1].expand_as(t))
        assert 0.02 <= float(t.min()) < 0.03
        assert high - 0.01 < float(t.max()) <= high
        assert close(t - s, t.clamp(max=delta))


def test_the_code_form_of_ism_starts_its_inversion_from_noise() -> None:
    prior, x, count = analytic(), randn(2000, *SHAPE), 2000
    s, zero = times(0.001, count), times(0.0, count)  # one short step, which hardly changes the noise at its start
    noisy, plain = (ISM(form=form).invert(query(prior, count=count), x, s) for form in ("code", "paper"))
    start = (noisy - plain) / LEVELS.alpha(s, x) / LEVELS.sbar(zero, x)
    shift = start.mean((0, 2, 3))
    spread = start - shift.reshape(1, -1, 1, 1)
    assert float(spread.std()) == pytest.approx(1.0, abs=0.1)
    assert 0 < float(shift.abs().max()) < 0.5
