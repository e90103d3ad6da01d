"""From a description to a toy: the catalogue of kinds, and the layout of rows and stacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from scoredistill.toybox.captions import Description
from scoredistill.toybox.kinds_animals import BUILDERS as ANIMALS
from scoredistill.toybox.kinds_food import BUILDERS as FOOD
from scoredistill.toybox.kinds_things import BUILDERS as THINGS
from scoredistill.toybox.palette import Palette
from scoredistill.toybox.toy import Toy

BUILDERS = ANIMALS | FOOD | THINGS

REACH = 0.85  # radius of the ball that contains every toy; all of it is in view of every camera
SIZES = {"small": (0.50, 0.54), "": (0.75, 0.81), "big": (0.84, 0.85)}  # radii of the bounding ball of a toy
GAP = 0.06  # between toys in a row
SINK = 0.04  # depth to which a toy sinks into the one below
FOOT = 0.12  # the top of the lower toy is measured on the axis and at this distance around it


def build(description: Description, rng: np.random.Generator) -> Toy:
    """The toy of a description, with random proportions; ValueError for a kind that is not in the catalogue."""
    d = description
    if d.kind not in BUILDERS:
        raise ValueError(f"Toybox has no kind {d.kind!r}; choose one of {', '.join(sorted(BUILDERS))}")
    if d.on is not None:
        return _stack(build(replace(d, on=None), rng), build(d.on, rng)).fitted(REACH)
    if d.count > 1:
        return _row([_single(d, rng) for _ in range(d.count)]).fitted(REACH)
    return _single(d, rng)


def _single(description: Description, rng: np.random.Generator) -> Toy:
    toy = Toy(tuple(BUILDERS[description.kind](Palette(description, rng))))
    return toy.fitted(float(rng.uniform(*SIZES[description.size])))


def _row(toys: list[Toy]) -> Toy:
    """Toys side by side; of three, the middle one stands further in front."""
    placed, x = Toy(()), 0.0
    for index, toy in enumerate(toys):
        x += toy.extent((-1, 0, 0))
        step = 0.3 if len(toys) == 3 and index == 1 else 0.0
        placed += toy.moved(1.0, np.array([x, 0, step]))
        x += toy.extent((1, 0, 0)) + GAP
    return placed


def _stack(upper: Toy, lower: Toy) -> Toy:
    """`upper` on `lower`: its lowest point at the height where the vertical axis first meets the lower toy."""
    height = _top(lower) - SINK + upper.extent((0, -1, 0))
    return upper.moved(1.0, np.array([0, height, 0])) + lower


def _top(toy: Toy) -> float:
    """The highest point of a toy on its axis and at the distance FOOT around it."""
    y = torch.linspace(REACH, -REACH, 171)
    feet = torch.tensor([(0, 0), (FOOT, 0), (-FOOT, 0), (0, FOOT), (0, -FOOT)])
    points = torch.stack(
        [feet[:, None, 0].expand(-1, len(y)), y.expand(len(feet), -1), feet[:, None, 1].expand(-1, len(y))],
        -1,
    )
    inside = (toy.distance(points.reshape(-1, 3)) < 0).reshape(len(feet), -1).any(0)
    return float(y[inside][0]) if bool(inside.any()) else toy.extent((0, 1, 0))
