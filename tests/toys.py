"""Toys as scenes, and toys that are broken the way distilled scenes are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Frame
from scoredistill.toybox import Toy, render
from scoredistill.toybox.shapes import Shape, sphere


@dataclass(frozen=True)
class ToyScene:
    """A toy as a scene, and another one in its place where `elsewhere` says so of the azimuth."""

    toy: Toy
    other: Toy | None = None
    elsewhere: Callable[[Tensor], Tensor] = torch.isnan

    def render(self, cameras: Cameras, background: Tensor) -> Frame:
        frame = render(self.toy, cameras, background)
        if self.other is None:
            return frame
        second, swap = render(self.other, cameras, background), self.elsewhere(cameras.azimuth)[:, None, None, None]

        def mixed(name: str) -> Tensor:
            return torch.where(swap, getattr(second, name), getattr(frame, name))

        return Frame(mixed("rgb"), mixed("opacity"), mixed("depth"), mixed("normal"))


def two_faced(toy: Toy) -> Toy:
    """The front half of a toy, and its mirror image behind."""

    def folded(p: Tensor) -> Tensor:
        return torch.cat([p[:2], p[2:].abs()])

    flip = np.array([1, 1, -1])
    return Toy(
        tuple(
            replace(
                part,
                shape=Shape(
                    lambda p, part=part: part.shape.distance(folded(p)),
                    lambda D, part=part: np.maximum(part.shape.support(D), part.shape.support(D * flip)),
                ),
                paint=lambda p, part=part: part.paint(folded(p)),
            )
            for part in toy.parts
        )
    )


def flattened(toy: Toy, factor: float) -> Toy:
    """A toy pressed together along the line of sight of its front."""
    thin = torch.tensor([[1.0], [1.0], [1 / factor]])
    return Toy(
        tuple(
            replace(
                part,
                shape=Shape(
                    lambda p, part=part: factor * part.shape.distance(thin * p),
                    lambda D, part=part: part.shape.support(D * np.array([1, 1, factor])),
                ),
                paint=lambda p, part=part: part.paint(thin * p),
            )
            for part in toy.parts
        )
    )


def dented(toy: Toy, radius: float) -> Toy:
    """A toy with a ball taken out of its front."""
    ball = sphere(radius).at(0, 0, toy.extent((0.0, 0.0, 1.0)))
    return Toy(tuple(replace(part, shape=part.shape - ball) for part in toy.parts))
