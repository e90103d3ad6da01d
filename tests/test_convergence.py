"""Behavior of the methods on three modes in the plane, measured rather than proved (METHODS 14.3), with wide margins.

The conditional prior has three of the six modes of the unconditional one, as a text picks from all images. Sixty
images start at the origin and are optimized by Adam; each draws its own noise, as sixty seeds would.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import jaxtyping
import pytest
import torch
from conftest import query

from scoredistill import schedule
from scoredistill.contracts import Method
from scoredistill.methods.asd import ASD
from scoredistill.methods.cfd import CFD
from scoredistill.methods.consistent3d import Consistent3D
from scoredistill.methods.dsd import DSD, dsd_2d
from scoredistill.methods.ism import ISM
from scoredistill.methods.sdi import SDI
from scoredistill.methods.sds import SDS
from scoredistill.priors.analytic import AnalyticPrior, Mixture

LEVELS = schedule.scaled_linear()
RADIUS, STD, COUNT, STEPS, RATE = 3.0, 0.3, 60, 150, 0.07
ANGLES = torch.tensor([0.3, 1.9, 4.4], dtype=torch.float64)
MODES = RADIUS * torch.stack([ANGLES.cos(), ANGLES.sin()], -1).reshape(3, 2, 1, 1)
OTHERS = RADIUS * torch.tensor([[-0.2, -0.6], [0.9, -0.9], [-0.3, 1.4]], dtype=torch.float64).reshape(3, 2, 1, 1)

METHODS = {
    "sds": SDS(scale=7.5, anneal=True),
    "sdi -7.5": SDI(),
    "sdi 0": SDI(inversion_scale=0.0),
    "sdi +7.5": SDI(inversion_scale=7.5),
    "sdi fixed": SDI(noise_source="fixed"),
    "ism": ISM(),
    "asd": ASD(),
    "consistent3d": Consistent3D(),
    "dsd": DSD(),
    "dsd random": DSD(noise_source="random"),
    "cfd": CFD(),
}


@pytest.fixture(autouse=True)
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of calls, whose types other tests check."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def plane() -> AnalyticPrior:
    def even(means: torch.Tensor) -> Mixture:
        count = len(means)
        return Mixture(means, torch.full((count,), STD).double(), torch.full((count,), 1 / count).double())

    return AnalyticPrior(even(MODES), even(torch.cat([MODES, OTHERS])), LEVELS)


def optimized(method: Method) -> torch.Tensor:
    """Where sixty images end, [60 2 1 1]."""
    inputs = query(plane(), seed=1, count=COUNT)
    start = getattr(method, "start", None)
    state = start() if start else None
    x = torch.zeros(COUNT, 2, 1, 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=RATE, betas=(0.9, 0.99), eps=1e-15)
    for step in range(STEPS):
        now = replace(inputs, progress=step / STEPS, state=state, asset_seed=7)
        x.grad = method(now, x.detach()).grad
        optimizer.step()
    return x.detach()


@functools.cache
def measured(name: str) -> tuple[float, float]:
    """Median distance to the nearest mode, and entropy in nats of which mode that is (of at most log 3 = 1.1)."""
    distance, mode = (optimized(METHODS[name])[:, None] - MODES).flatten(2).norm(dim=2).min(1)
    share = torch.bincount(mode, minlength=3) / COUNT
    return float(distance.median()), float(torch.special.entr(share).sum())


def test_sdi_finds_a_mode_unless_its_inversion_is_guided_forward() -> None:
    for name in ("sdi -7.5", "sdi 0"):
        assert measured(name)[0] < 0.5 * STD
    assert measured("sdi +7.5")[0] > 2 * STD


def test_sds_stays_further_from_the_modes_than_sdi() -> None:
    assert measured("sds")[0] > 1.5 * measured("sdi -7.5")[0]


@pytest.mark.parametrize("name", ["dsd", "consistent3d", "sdi fixed", "cfd"])
def test_fixed_noise_of_an_asset_preserves_the_modes(name: str) -> None:
    assert measured(name)[1] > 0.5


@pytest.mark.parametrize("name", ["sds", "sdi -7.5", "asd", "ism", "dsd random"])
def test_fresh_or_inferred_noise_collapses_to_one_mode(name: str) -> None:
    assert measured(name)[1] < 0.3


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_dsd_in_many_small_steps_stays_near_the_ddim_sample(rounding: str) -> None:
    inputs, like = query(plane(), count=COUNT), torch.zeros(COUNT, 2, 1, 1, dtype=torch.float64)
    *_, last = dsd_2d(inputs, like, scale=1.0, steps=100, rounding=rounding)
    *_, ddim = dsd_2d(inputs, like, scale=1.0, steps=10, rounding=rounding)
    assert float((last - ddim).flatten(1).norm(dim=1).median()) < 0.1 * RADIUS
