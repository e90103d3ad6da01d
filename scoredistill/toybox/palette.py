"""Colors and patterns of the parts of a toy, from its description.

p points [3 N]; albedo [3 N] in [0, 1]
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from scoredistill.toybox.captions import COLORS, NATURAL, Description
from scoredistill.toybox.shapes import Shape, Vector
from scoredistill.toybox.toy import Paint, Part, enclose, fibonacci

EXTRA: dict[str, Vector] = {
    "cream": (0.95, 0.87, 0.68),
    "gray": (0.45, 0.46, 0.48),
    "steel": (0.68, 0.70, 0.73),
    "chocolate": (0.27, 0.13, 0.06),
    "sky": (0.45, 0.75, 0.98),
    "rose": (0.95, 0.45, 0.55),
    "flame": (1.0, 0.62, 0.10),
    "night": (0.10, 0.13, 0.28),
    "leaf": (0.25, 0.55, 0.15),
}
"""Albedo of details that captions do not name."""

JITTER = 0.025  # relative deviation of an albedo around its color word: visible, but never closer to another word
SOFT = 0.02  # half width of the edge of a pattern, in builder units (a toy is about 2 tall): about a pixel
PERIOD = 0.42  # of the stripes: five on a toy
SPOT, SPOTTED = 0.13, 0.26  # radius of the spots, and the fraction of the surface that they cover
AWNING = 10  # radial stripes around a flat part
LONG = 1.2  # a part that is longer by this factor along one axis is striped along it


def solid(color: Vector) -> Paint:
    """A uniform color."""
    column = torch.tensor(color, dtype=torch.float32)[:, None]
    return lambda p: column.to(p).expand(-1, p.shape[1])


def mixed(color: Vector, other: Vector, share: Callable[[Tensor], Tensor]) -> Paint:
    """`other` where share(p) [N] is 1, `color` where it is 0."""
    a, b = solid(color), solid(other)
    return lambda p: a(p) + share(p) * (b(p) - a(p))


def edge(value: Tensor, soft: float) -> Tensor:
    """A step at 0, linear over the width 2 `soft`."""
    return (0.5 + value / (2 * soft)).clamp(0, 1)


def stripes(color: Vector, other: Vector, shape: Shape) -> Paint:
    """Stripes along the height, or along a clearly longest axis; radial stripes on a flat part."""
    (x, y, z), low = shape.support(np.eye(3)), shape.support(-np.eye(3))
    middle = torch.tensor([[(x - low[0]) / 2], [0], [(z - low[2]) / 2]], dtype=torch.float32)
    wide, tall, deep = x + low[0], y + low[1], z + low[2]
    flat = min(wide, deep) > LONG * tall
    axis = 2 if deep > LONG * max(wide, tall) else 0 if wide > LONG * max(deep, tall) else 1

    def share(p: Tensor) -> Tensor:
        q = p - middle.to(p)
        along = torch.atan2(q[0], q[2]) * (AWNING * PERIOD / (2 * math.pi)) if flat else p[axis]
        return edge(((2 * math.pi / PERIOD * along).sin() - 0.25) * PERIOD / (2 * math.pi), SOFT)

    return mixed(color, other, share)


def spots(color: Vector, other: Vector, shape: Shape) -> Paint:
    """Round spots of one size, at the points where evenly spread rays towards the center meet the surface."""
    center, radius = enclose([shape])
    a, b, c = shape.support(np.eye(3)) + shape.support(-np.eye(3))
    surface = math.pi * (a * b + b * c + c * a) / 3  # of an ellipsoid with these axes, approximately
    count = max(round(SPOTTED * surface / (math.pi * SPOT**2)), 3)
    inward = -torch.tensor(fibonacci(count).T, dtype=torch.float32)
    middles = torch.tensor(center, dtype=torch.float32)[:, None] - radius * inward
    for _ in range(30):  # a sphere trace: each step is the distance to the surface
        middles = middles + shape.distance(middles) * inward

    def share(p: Tensor) -> Tensor:
        nearest = torch.cdist(p.T, middles.T.to(p)).amin(1)
        return edge(SPOT - nearest, SOFT)

    return mixed(color, other, share)


def dots(color: Vector, other: Vector, center: Vector, count: int, cosine: float) -> Paint:
    """`count` round dots, spread evenly over the directions from `center`."""
    middle = torch.tensor(center, dtype=torch.float32)[:, None]
    directions = torch.tensor(fibonacci(count), dtype=torch.float32)

    def share(p: Tensor) -> Tensor:
        nearest = (directions.to(p) @ torch.nn.functional.normalize(p - middle.to(p), dim=0)).amax(0)
        return edge(nearest - cosine, 2 * SOFT * (1 - cosine * cosine) ** 0.5)

    return mixed(color, other, share)


def tint(color: Vector, other: Vector, share: float) -> Vector:
    """`share` of the way from one color to another."""
    r, g, b = (float((1 - share) * x + share * y) for x, y in zip(color, other, strict=True))
    return r, g, b


class Palette:
    """Random proportions and colors of one toy, for its builder."""

    def __init__(self, description: Description, rng: np.random.Generator):
        self.description, self.rng = description, rng
        self.name = description.color or NATURAL[description.kind]
        self.gloss = 1.0 if description.material == "shiny" else 0.0
        self._colors: dict[str, Vector] = {}
        self.main = self.color(self.name)

    def vary(self, low: float, high: float) -> float:
        """A random proportion of this toy, uniform in [low, high]."""
        return float(self.rng.uniform(low, high))

    def color(self, name: str) -> Vector:
        """The albedo of a color word on this toy, jittered once per toy and word."""
        if name not in self._colors:
            exact = np.array(COLORS.get(name) or EXTRA[name])
            light, *hue = self.rng.standard_normal(4)
            jittered = exact * (1 + JITTER * light) + 0.5 * JITTER * np.array(hue)
            r, g, b = jittered.clip(0.02, 1).tolist()
            self._colors[name] = (r, g, b)
        return self._colors[name]

    def contrast(self, *names: str) -> str:
        """The first of `names` that is not the main color."""
        return next(name for name in names if name != self.name)

    @property
    def ink(self) -> str:
        """Color of eyes and buttons: black, or white on black."""
        return self.contrast("black", "white")

    @property
    def pale(self) -> Vector:
        """Color of bellies and muzzles: the main color lightened, or white tinted with rose."""
        if self.name == "white":
            return tint(self.main, self.color("rose"), 0.45)
        return tint(self.main, self.color("cream"), 0.7)

    @property
    def deep(self) -> Vector:
        """Color of grooves and crusts: the main color darkened."""
        return tint(self.main, (0.0, 0.0, 0.0), 0.25)

    def body(self, shape: Shape) -> Part:
        """A part in the main color, with the pattern of the description."""
        return Part(shape, self._pattern(shape), self.gloss)

    def named(self, part: str, shape: Shape, *defaults: str | Vector) -> Part:
        """A part whose color a caption can name; otherwise the first of `defaults` that is not the main color."""
        default = next(color for color in defaults if color != self.name)
        return self.fixed(self.description.part_color if self.description.part == part else default, shape, part)

    def fixed(self, color: str | Vector, shape: Shape, name: str = "") -> Part:
        """A part in a fixed color, without pattern; `name` is the word for it."""
        return Part(shape, solid(self.color(color) if isinstance(color, str) else color), self.gloss, name)

    def painted(self, paint: Paint, shape: Shape) -> Part:
        """A part with its own paint, or with the pattern of the description if it has one."""
        patterned = self.description.material in ("striped", "spotted")
        return self.body(shape) if patterned else Part(shape, paint, self.gloss)

    def _pattern(self, shape: Shape) -> Paint:
        patterns = {"striped": stripes, "spotted": spots}
        pattern = patterns.get(self.description.material)
        return pattern(self.main, self._second_color(), shape) if pattern else solid(self.main)

    def _second_color(self) -> Vector:
        """The second color of a pattern: dark on light, light on dark."""
        bright = float(np.dot(self.main, (0.3, 0.6, 0.1))) > 0.6
        return tint(self.main, (0.0, 0.0, 0.0), 0.6) if bright else tint(self.main, (1.0, 1.0, 1.0), 0.85)
