"""Shapes against the truth: closed forms of balls, toys against themselves and each other, and a scene."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from scoredistill.contracts import Frame
from scoredistill.evaluate.geometry import Shape, family, likeness, nearest, true_shape, views
from scoredistill.toybox import Description, Part, Toy, build
from scoredistill.toybox.shapes import ellipsoid, sphere

ORANGE = torch.tensor([[0.98], [0.5], [0.05]])


def ball(radius: float, x: float = 0.0) -> Shape:
    return true_shape(Toy((Part(sphere(radius).at(x), lambda p: ORANGE.expand_as(p)),)))


def test_concentric_balls_are_their_difference_apart() -> None:
    """Chamfer distance b - a, all normals equal, overlap and volume (a / b)^3."""
    found = likeness(ball(0.5), ball(0.7))
    assert found.chamfer == pytest.approx(0.2, abs=0.01)
    assert found.normals == pytest.approx(1, abs=0.01)
    assert found.overlap == pytest.approx((0.5 / 0.7) ** 3, abs=0.02)
    assert found.volume == pytest.approx((0.5 / 0.7) ** 3, abs=0.02)


def test_the_volume_is_that_of_the_ball() -> None:
    assert ball(0.6).volume == pytest.approx(
        4 / 3 * math.pi * 0.6**3, rel=0.06
    )  # pixels and cells are coarse, and the carving errs inwards


def test_a_ball_is_like_itself_and_less_so_moved() -> None:
    apart = [likeness(ball(0.4, x), ball(0.4)) for x in (0.0, 0.1, 0.2, 0.4)]
    assert apart[0].chamfer < 0.02 and apart[0].overlap == 1
    assert all(one.chamfer < other.chamfer for one, other in itertools.pairwise(apart))
    assert all(one.overlap > other.overlap for one, other in itertools.pairwise(apart))


def test_an_empty_scene_is_like_nothing() -> None:
    blank = torch.zeros(len(views()), 1, 64, 64)
    found = likeness(
        Shape.of(Frame(blank.expand(-1, 3, -1, -1), blank, blank, blank.expand(-1, 3, -1, -1)), views()), ball(0.5)
    )
    assert (found.chamfer, found.overlap, found.volume) == (math.inf, 0, 0)


def test_a_billboard_is_unlike_the_solid() -> None:
    """A disk that faces the front."""
    disk = true_shape(Toy((Part(ellipsoid(0.5, 0.5, 0.025), lambda p: ORANGE.expand_as(p)),)))
    assert likeness(disk, ball(0.5)).volume < 0.15
    assert likeness(disk, ball(0.5)).chamfer > 0.1


@pytest.mark.parametrize("kind", ["snowman", "car", "mushroom"])
def test_toys_of_a_kind_are_nearer_to_their_family_than_to_another(kind: str) -> None:
    toy = true_shape(build(Description(kind, "red"), np.random.default_rng(7)))
    own = nearest(toy, family(f"a red {kind}", 4))
    others = [nearest(toy, family(f"a red {other}", 1)) for other in ("snowman", "car", "mushroom") if other != kind]
    assert own.chamfer < min(each.chamfer for each in others)
    assert own.overlap > max(each.overlap for each in others)
    assert own.overlap > 0.6 and own.normals > 0.8
