"""A toy: a union of colored solids, and its bounding ball.

p points [3 N], one column each
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.toybox.shapes import Shape

Paint = Callable[[Tensor], Tensor]
"""Points [3 N] -> albedo [3 N]."""


def fibonacci(count: int) -> np.ndarray:
    """`count` unit vectors [count 3] spread evenly over the sphere (a golden-angle spiral)."""
    k = np.arange(count)
    height, turn = 1 - (2 * k + 1) / count, k * math.pi * (3 - math.sqrt(5))
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(turn), height, flat * np.sin(turn)], 1)


_AXES = np.concatenate([np.eye(3), -np.eye(3)])
_DIRECTIONS = np.concatenate([_AXES, fibonacci(400)])
_COVER = 0.985  # every unit vector is within acos(0.985) = 10 degrees of one of _DIRECTIONS


def enclose(shapes: Sequence[Shape]) -> tuple[np.ndarray, float]:
    """Center [3] and radius of a bounding ball of all shapes; for a sphere, two percent too large."""
    support = np.max([shape.support(_DIRECTIONS) for shape in shapes], 0)
    center = (support[:3] - support[3:6]) / 2
    return center, float((support - _DIRECTIONS @ center).max() / _COVER)


@dataclass(frozen=True)
class Part:
    """One solid, its paint, its gloss (0 matte, 1 polished), and the word for it where it has one ("eyes")."""

    shape: Shape
    paint: Paint
    gloss: float = 0.0
    name: str = ""

    @cached_property
    def ball(self) -> tuple[np.ndarray, float]:
        """Bounding ball of the part: center [3], radius."""
        return enclose([self.shape])

    @cached_property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner [3] of the axis-aligned bounding box of the part."""
        return -self.shape.support(_AXES[3:]), self.shape.support(_AXES[:3])

    def moved(self, factor: float, offset: np.ndarray) -> Part:
        """The part scaled about the origin, then moved, together with its paint."""
        x, y, z = (float(value) for value in offset)
        shift = torch.tensor([[x], [y], [z]])
        paint = self.paint
        shape = self.shape.scaled(factor).at(x, y, z)
        return replace(self, shape=shape, paint=lambda p: paint((p - shift.to(p)) / factor))


@dataclass(frozen=True)
class Toy:
    """The union of its parts; it faces +z and stands upright along y."""

    parts: tuple[Part, ...]

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Signed distance of world points to the toy (a lower bound; negative inside)."""
        columns = points.T.contiguous()
        return torch.stack([part.shape.distance(columns) for part in self.parts]).amin(0)

    def albedo(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """The paint of the part nearest to each point."""
        columns = points.T.contiguous()
        owner = torch.stack([part.shape.distance(columns) for part in self.parts]).argmin(0)
        color = torch.zeros_like(points)
        for index, part in enumerate(self.parts):
            color[owner == index] = part.paint(columns[:, owner == index]).T
        return color

    @property
    def ball(self) -> tuple[np.ndarray, float]:
        """Bounding ball of the toy: center [3], radius."""
        return enclose([part.shape for part in self.parts])

    def extent(self, direction: tuple[float, float, float]) -> float:
        """The extent of the toy in a direction: max p.direction."""
        return float(max(part.shape.support(np.array([direction]))[0] for part in self.parts))

    def moved(self, factor: float, offset: np.ndarray) -> Toy:
        """The toy scaled about the origin, then moved."""
        return Toy(tuple(part.moved(factor, offset) for part in self.parts))

    def fitted(self, radius: float) -> Toy:
        """The toy centered at the origin and scaled to fill a ball of the given radius."""
        center, extent = self.ball
        return self.moved(radius / extent, -center * radius / extent)

    def __add__(self, other: Toy) -> Toy:
        return Toy(self.parts + other.parts)
