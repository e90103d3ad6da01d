"""Shapes as signed distance functions: primitives, transformations, unions, intersections and differences.

p points [3 N], one column each   d distances [N], negative inside   D directions [D 3]   h support values [D]
Every distance is 1-Lipschitz, so it never exceeds the true distance and is a safe step length along a ray.
Distances after Quilez (2008-2023, iquilezles.org/articles/distfunctions) unless a docstring says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Vector = tuple[float, float, float]

_AXES = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}


def length(p: Float[Tensor, "K *N"]) -> Float[Tensor, "*N"]:
    """Euclidean norm over the first axis, with a zero (not NaN) gradient at the origin."""
    return p.square().sum(0).clamp(min=1e-30).sqrt()


def _column(vector: Sequence[float]) -> Tensor:
    return torch.tensor(vector, dtype=torch.float32)[:, None]


@dataclass(frozen=True)
class Shape:
    """A solid: its signed distance, and its support h(d) = max over the solid of p.d (or a bound above)."""

    distance: Callable[[Tensor], Tensor]
    support: Callable[[np.ndarray], np.ndarray]

    def at(self, x: float = 0, y: float = 0, z: float = 0) -> Shape:
        """The shape moved by (x, y, z)."""
        offset = _column((x, y, z))
        return Shape(lambda p: self.distance(p - offset.to(p)), lambda D: self.support(D) + D @ np.array([x, y, z]))

    def turned(self, axis: str, degrees: float) -> Shape:
        """The shape rotated about the axis "x", "y" or "z" through the origin, counter-clockwise seen from its tip."""
        i, j = _AXES[axis]
        back = np.eye(3)
        back[[i, j], [i, j]] = math.cos(math.radians(degrees))
        back[i, j] = math.sin(math.radians(degrees))
        back[j, i] = -back[i, j]
        matrix = torch.tensor(back, dtype=torch.float32)
        return Shape(lambda p: self.distance(matrix.to(p) @ p), lambda D: self.support(D @ back.T))

    def scaled(self, factor: float) -> Shape:
        """The shape scaled about the origin."""
        return Shape(lambda p: self.distance(p / factor) * factor, lambda D: self.support(D) * factor)

    def grown(self, margin: float) -> Shape:
        """The shape inflated (and rounded) by `margin`."""
        return Shape(
            lambda p: self.distance(p) - margin,
            lambda D: self.support(D) + margin * np.linalg.norm(D, axis=1),
        )

    def mirrored(self) -> Shape:
        """Union with the mirror image in the plane x = 0; the shape itself must lie at x > 0."""

        def distance(p: Tensor) -> Tensor:
            return self.distance(torch.cat([p[:1].abs(), p[1:]]))

        flip = np.array([-1, 1, 1])
        return Shape(distance, lambda D: np.maximum(self.support(D), self.support(D * flip)))

    def repeated(self, count: int) -> Shape:
        """`count` copies around the y axis; the shape itself must lie at z > 0 and be symmetric in x."""
        sector = 2 * math.pi / count

        def distance(p: Tensor) -> Tensor:
            angle = torch.atan2(p[0], p[2])
            angle = angle - sector * torch.round(angle / sector)
            radius = length(p[::2])
            return self.distance(torch.stack([radius * angle.sin(), p[1], radius * angle.cos()]))

        def support(D: np.ndarray) -> np.ndarray:
            copies = [self.turned("y", 360 * k / count).support(D) for k in range(count)]
            return np.max(copies, 0)

        return Shape(distance, support)

    def above(self, y: float) -> Shape:
        """The part of the shape above the plane at height `y`."""

        def support(D: np.ndarray) -> np.ndarray:  # Lagrange: h(D) <= h(D + l e_y) - l y for every l >= 0
            level = np.maximum(-D[:, 1], 0)
            return np.minimum(self.support(D), self.support(D + level[:, None] * [0, 1, 0]) - level * y)

        return Shape(lambda p: torch.maximum(self.distance(p), y - p[1]), support)

    def below(self, y: float) -> Shape:
        """The part of the shape below the plane at height `y`."""
        return self.turned("z", 180).above(-y).turned("z", -180)

    def __or__(self, other: Shape) -> Shape:
        return Shape(
            lambda p: torch.minimum(self.distance(p), other.distance(p)),
            lambda D: np.maximum(self.support(D), other.support(D)),
        )

    def __and__(self, other: Shape) -> Shape:
        return Shape(
            lambda p: torch.maximum(self.distance(p), other.distance(p)),
            lambda D: np.minimum(self.support(D), other.support(D)),
        )

    def __sub__(self, other: Shape) -> Shape:
        return Shape(lambda p: torch.maximum(self.distance(p), -other.distance(p)), self.support)

    def melted(self, other: Shape, width: float) -> Shape:
        """Union with a fillet: min(a, b) - max(width - |a - b|, 0)^2 / (4 width)."""

        def distance(p: Tensor) -> Tensor:
            a, b = self.distance(p), other.distance(p)
            return torch.minimum(a, b) - (width - (a - b).abs()).clamp(min=0).square() / (4 * width)

        return Shape(distance, (self | other).grown(width / 4).support)


def sphere(radius: float) -> Shape:
    """A ball centered at the origin."""
    return Shape(lambda p: length(p) - radius, lambda D: radius * np.linalg.norm(D, axis=1))


def ellipsoid(rx: float, ry: float, rz: float) -> Shape:
    """An ellipsoid: (|p / r| - 1) min(r), a lower bound of the distance, exact on the shortest axis."""
    inverse, shortest = _column((1 / rx, 1 / ry, 1 / rz)), min(rx, ry, rz)
    return Shape(
        lambda p: (length(p * inverse.to(p)) - 1) * shortest,
        lambda D: np.linalg.norm(D * [rx, ry, rz], axis=1),
    )


def box(x: float, y: float, z: float, rounding: float = 0.05) -> Shape:
    """A box with half sides (x, y, z) and edges rounded inwards."""
    core = _column((x - rounding, y - rounding, z - rounding))

    def distance(p: Tensor) -> Tensor:
        q = p.abs() - core.to(p)
        return length(q.clamp(min=0)) + q.amax(0).clamp(max=0) - rounding

    return Shape(distance, lambda D: np.abs(D) @ np.array([x, y, z]))


def cylinder(radius: float, height: float, rounding: float = 0.03) -> Shape:
    """A cylinder around the y axis with half height `height` and rims rounded inwards."""

    def distance(p: Tensor) -> Tensor:
        q = torch.stack([length(p[::2]) - (radius - rounding), p[1].abs() - (height - rounding)])
        return length(q.clamp(min=0)) + q.amax(0).clamp(max=0) - rounding

    return Shape(distance, lambda D: radius * np.hypot(D[:, 0], D[:, 2]) + height * np.abs(D[:, 1]))


def capsule(a: Vector, b: Vector, radius: float) -> Shape:
    """A capsule from a to b."""
    start, along = _column(a), _column(b) - _column(a)
    square = float(along.square().sum())

    def distance(p: Tensor) -> Tensor:
        q, axis = p - start.to(p), along.to(p)
        share = ((q * axis).sum(0) / square).clamp(0, 1)
        return length(q - axis * share) - radius

    ends = np.array([a, b])
    return Shape(distance, lambda D: (D @ ends.T).max(1) + radius * np.linalg.norm(D, axis=1))


def drop(low: float, high: float, height: float) -> Shape:
    """Convex hull of two balls: radius `low` at the origin, `high` at (0, height, 0); |low - high| < height."""
    slope = (low - high) / height
    flank = math.sqrt(1 - slope * slope)

    def distance(p: Tensor) -> Tensor:
        radius, y = length(p[::2]), p[1]
        along = flank * y - slope * radius
        ends = torch.where(along < 0, length(p) - low, length(torch.stack([radius, y - height])) - high)
        side = flank * radius + slope * y - low
        return torch.where((along >= 0) & (along <= flank * height), side, ends)

    def support(D: np.ndarray) -> np.ndarray:
        norm = np.linalg.norm(D, axis=1)
        return np.maximum(low * norm, high * norm + height * D[:, 1])

    return Shape(distance, support)


def torus(radius: float, thickness: float) -> Shape:
    """A torus around the y axis."""

    def distance(p: Tensor) -> Tensor:
        return length(torch.stack([length(p[::2]) - radius, p[1]])) - thickness

    def support(D: np.ndarray) -> np.ndarray:
        return radius * np.hypot(D[:, 0], D[:, 2]) + thickness * np.linalg.norm(D, axis=1)

    return Shape(distance, support)


def arc(radius: float, thickness: float, half_angle: float) -> Shape:
    """An arc of a torus around z within `half_angle` degrees of +y, with round ends."""
    sine, cosine = math.sin(math.radians(half_angle)), math.cos(math.radians(half_angle))

    def distance(p: Tensor) -> Tensor:
        x, y = p[0].abs(), p[1]
        reach = torch.where(cosine * x > sine * y, x * sine + y * cosine, length(p[:2]))
        return (p.square().sum(0) + radius * radius - 2 * radius * reach).clamp(min=1e-14).sqrt() - thickness

    return Shape(distance, torus(radius, thickness).turned("x", 90).support)


def _polyline(corners: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to an open polyline, and the number of its crossings with the ray towards +x."""
    start, end = corners[:-1].to(x), corners[1:].to(x)  # [V 2 1]
    along = end - start
    qx, qy = x - start[:, 0], y - start[:, 1]  # [V N]
    share = ((qx * along[:, 0] + qy * along[:, 1]) / along.square().sum(1)).clamp(0, 1)
    gap = torch.stack([qx - along[:, 0] * share, qy - along[:, 1] * share]).square().sum(0)
    between = (start[:, 1] > y) != (end[:, 1] > y)
    right = (qx * along[:, 1] < along[:, 0] * qy) == (along[:, 1] > 0)
    return gap.amin(0).clamp(min=1e-30).sqrt(), (between & right).sum(0)


def lathe(profile: Sequence[tuple[float, float]], rounding: float = 0.0) -> Shape:
    """A solid of revolution: a profile of (radius, height) corners from axis to axis, inflated by `rounding`."""
    corners = np.array(profile, dtype=np.float64)
    chain = torch.tensor(corners[:, :, None], dtype=torch.float32)

    def distance(p: Tensor) -> Tensor:
        gap, crossings = _polyline(chain, length(p[::2]), p[1])
        return torch.where(crossings % 2 == 1, -gap, gap) - rounding

    def support(D: np.ndarray) -> np.ndarray:
        flat = np.stack([np.hypot(D[:, 0], D[:, 2]), D[:, 1]], 1)
        return (flat @ corners.T).max(1) + rounding * np.linalg.norm(D, axis=1)

    return Shape(distance, support)


def prism(polygon: Sequence[tuple[float, float]], depth: float, rounding: float = 0.0) -> Shape:
    """A polygon in the (x, y) plane, extruded to |z| < depth and inflated by `rounding`."""
    corners = np.array([*polygon, polygon[0]], dtype=np.float64)
    chain = torch.tensor(corners[:, :, None], dtype=torch.float32)

    def distance(p: Tensor) -> Tensor:
        gap, crossings = _polyline(chain, p[0], p[1])
        q = torch.stack([torch.where(crossings % 2 == 1, -gap, gap), p[2].abs() - depth])
        return length(q.clamp(min=0)) + q.amax(0).clamp(max=0) - rounding

    def support(D: np.ndarray) -> np.ndarray:
        return (D[:, :2] @ corners.T).max(1) + depth * np.abs(D[:, 2]) + rounding * np.linalg.norm(D, axis=1)

    return Shape(distance, support)
