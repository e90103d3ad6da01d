"""Properties of every method of the catalogue: identity I-1 of METHODS, Perp-Neg, priors of four views, citations."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import times
from method_inputs import LEVELS, NEGATIVE, NULL, SHAPE, SIDE, TEXT, analytic, build, distill, images
from test_schedule import close

from scoredistill.config import hints
from scoredistill.contracts import Condition
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.sds import SDS
from scoredistill.priors.analytic import AnalyticPrior
from scoredistill.schedule import cosine


@pytest.mark.parametrize("progress", [0.1, 0.7])
@pytest.mark.parametrize("name", METHODS)
def test_I1_every_parametrization_of_a_prior_gives_the_same_gradient(name: str, progress: float) -> None:
    expected = distill(build(name), images(), progress=progress)
    for prediction in ("x0", "v", "flow"):
        found = distill(build(name), images(), analytic(prediction), progress)
        assert close(found.grad, expected.grad, 1e-8), prediction
        assert (found.grad_rgb is None) == (expected.grad_rgb is None)
        if found.grad_rgb is not None and expected.grad_rgb is not None:
            assert close(found.grad_rgb, expected.grad_rgb, 1e-8), prediction


@pytest.mark.parametrize("name", METHODS)
def test_every_method_applies_perp_neg(name: str) -> None:
    plain = distill(build(name), images())
    without = distill(build(name), images(), perpendicular=((SIDE, times(0.0)),))
    with_views = distill(build(name), images(), perpendicular=((SIDE, times(-1.5)), (NEGATIVE, times(-0.5))))
    assert close(without.grad, plain.grad)
    assert not close(with_views.grad, plain.grad, 1e-4)


class FourViews(AnalyticPrior):
    """A prior that denoises four views at one time jointly: each prediction contains the mean of its group."""

    views = 4

    def eps(self, x_t: torch.Tensor, t: torch.Tensor, *conditions: Condition) -> tuple[torch.Tensor, ...]:
        groups = t.reshape(-1, 4)
        assert torch.equal(groups, groups[:, :1].expand(-1, 4)), "views that are denoised jointly share their t"
        mean = x_t.reshape(-1, 4, *SHAPE).mean(1).repeat_interleave(4, 0)
        return tuple(eps + 0.1 * mean for eps in super().eps(x_t, t, *conditions))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_works_with_a_prior_of_four_views(name: str) -> None:
    answer = distill(build(name), images(8), FourViews(TEXT, NULL, LEVELS))
    assert answer.grad.shape == (8, *SHAPE)


def test_times_of_four_views_come_in_whole_groups() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        distill(SDS(), images(6), FourViews(TEXT, NULL, LEVELS))


@pytest.mark.parametrize("name", METHODS)
def test_a_prior_without_an_unconditional_score_is_named_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="no unconditional score") as error:
        distill(build(name), images(), null=None, empty=None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if not kind.needs_learner])
def test_every_method_is_finite_at_time_zero(name: str) -> None:
    """At t = 0 the images of Toybox and of flows have no noise, so that none can be inferred from them."""
    at_zero = {field: 0.0 for field in hints(METHODS[name]) if field.startswith("t_")}
    answer = distill(build(name, **at_zero), images(), AnalyticPrior(TEXT, NULL, cosine()))
    assert bool(answer.grad.isfinite().all())
    assert answer.grad_rgb is None or bool(answer.grad_rgb.isfinite().all())


def test_every_method_is_cited_and_states_its_equation() -> None:
    for config in METHODS.values():
        assert config.citation.startswith("@")
        assert config.__doc__ is not None
        assert "grad = " in config.__doc__


@pytest.mark.parametrize("name", METHODS)
def test_no_line_of_a_methods_text_begins_like_an_item_of_a_list(name: str) -> None:
    """As which the pages of the methods would show it."""
    assert not re.search(r"^\s*([-+*]|\d+[.)])\s", METHODS[name].__doc__ or "", re.MULTILINE)
