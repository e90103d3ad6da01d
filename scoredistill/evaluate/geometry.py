"""The shape of a result beside the true one: Toybox's toys are solids, so what a caption describes is known in 3D.

Whatever a scene is made of, its shape is read from the same views of it: the surface that they see, and the space that
they do not see through. A caption describes a family of toys, whose proportions are chance; a result is measured
against the nearest of some of them.

V views   H W pixels   P points of a surface   G cells of the grid along a side   lengths in world units
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scoredistill.camera import FOV_DEG, Cameras, orbit
from scoredistill.contracts import Frame, HasViews
from scoredistill.evaluate.report import expected
from scoredistill.toybox import BACKGROUND, Description, Toy, build, render

AZIMUTHS, ELEVATIONS_DEG = 8, (-10.0, 25.0, 60.0)  # of the views, within those that the priors know
RADIUS, SIZE = 2.8, 64
CELLS, REACH = 48, 0.95  # of the grid, a cube of half this side
POINTS = 2000  # of each surface that distances are measured between
FAMILY = 16  # toys of a caption
SOLID = 0.5  # least opacity of a pixel that shows a surface
SEED = 40_000  # of the families, apart from every data set


@dataclass(frozen=True)
class Shape:
    """The shape of an object, as `views` see it."""

    points: Float[Tensor, "P 3"]  # of its surface
    normals: Float[Tensor, "P 3"]  # unit, outwards
    solid: Bool[Tensor, "G G G"]  # cells that no view sees through

    @classmethod
    def of(cls, frame: Frame, cameras: Cameras) -> Shape:
        """The shape that frames show; it has no points where all of them are empty."""
        origins, directions = cameras.rays()
        points = origins + frame.depth[:, 0, :, :, None] * directions
        seen = frame.opacity[:, 0] > SOLID
        normals = torch.nn.functional.normalize(frame.normal.movedim(1, -1), dim=-1)
        return cls(points[seen].cpu(), normals[seen].cpu(), carved(frame, cameras).cpu())

    @property
    def volume(self) -> float:
        """Its volume, in cubic world units."""
        return float(self.solid.sum()) * (2 * REACH / CELLS) ** 3


@dataclass(frozen=True)
class Likeness:
    """How much alike two shapes are."""

    chamfer: float  # mean distance of a point of either surface to the other, world units
    normals: float  # mean cosine between the normals there
    overlap: float  # intersection over union of the solids
    volume: float  # of the one, as a share of that of the other


def views(device: torch.device | str = "cpu") -> Cameras:
    """The cameras from which shapes are read, all around the object."""
    azimuth, elevation = torch.meshgrid(
        torch.arange(AZIMUTHS) * (2 * math.pi / AZIMUTHS), torch.tensor(ELEVATIONS_DEG).deg2rad(), indexing="ij"
    )
    one = torch.ones(azimuth.numel())
    cameras = orbit(azimuth.flatten(), elevation.flatten(), RADIUS * one, math.radians(FOV_DEG) * one, SIZE)
    return cameras.to(device)


@torch.no_grad()
def shape_of(scene: HasViews, device: torch.device | str = "cpu") -> Shape:
    """The shape of a scene."""
    cameras = views(device)
    black, firsts = torch.zeros(3, device=device), range(0, len(cameras), AZIMUTHS)
    parts = [scene.render(cameras[first : first + AZIMUTHS], black) for first in firsts]
    rgb, opacity, depth, normal = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "opacity", "depth", "normal")
    )
    frame = Frame(rgb, opacity, depth, normal)
    return Shape.of(frame, cameras)


def family(prompt: str, count: int = FAMILY) -> list[Shape]:
    """The shapes of `count` toys that a caption describes; ValueError if it names no kind."""
    return [true_shape(toy) for toy in toys(prompt, count)]


def toys(prompt: str, count: int) -> list[Toy]:
    """The first toys of the family of a caption, which differ in their proportions; ValueError if it names no kind."""
    description, rng = Description(*expected(prompt)), np.random.default_rng(SEED)
    return [build(description, rng) for _ in range(count)]


def true_shape(toy: Toy) -> Shape:
    """The shape of a toy."""
    cameras = views()
    return Shape.of(render(toy, cameras, torch.tensor(BACKGROUND)), cameras)


def likeness(found: Shape, true: Shape) -> Likeness:
    """How near a shape is to a true one; without a surface all distances are infinite."""
    volume = found.volume / max(true.volume, 1e-9)
    if not len(found.points) or not len(true.points):
        return Likeness(math.inf, 0.0, 0.0, volume)
    (p, p_normals), (q, q_normals) = _some(found), _some(true)
    distances = torch.cdist(p, q)
    to_true, to_found = distances.min(1), distances.min(0)
    cosines = torch.cat([p_normals * q_normals[to_true.indices], q_normals * p_normals[to_found.indices]]).sum(1)
    both, either = (found.solid & true.solid).sum(), (found.solid | true.solid).sum()
    return Likeness(
        chamfer=float(to_true.values.mean() + to_found.values.mean()) / 2,
        normals=float(cosines.mean()),
        overlap=float(both) / max(float(either), 1.0),
        volume=volume,
    )


def nearest(found: Shape, toys: list[Shape]) -> Likeness:
    """The likeness to the toy of a family to which the Chamfer distance is the least."""
    return min((likeness(found, toy) for toy in toys), key=lambda each: each.chamfer)


def carved(frame: Frame, cameras: Cameras) -> Bool[Tensor, "G G G"]:
    """The cells of the grid that no view sees through: behind a surface in all of them."""
    axis = (torch.arange(CELLS, device=frame.depth.device) + 0.5) * (2 * REACH / CELLS) - REACH
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    solid, intrinsics = torch.ones(len(grid), dtype=torch.bool, device=grid.device), cameras.intrinsics()
    for view in range(len(cameras)):
        rotation, position = cameras.c2w[view, :3, :3], cameras.c2w[view, :3, 3]
        offset = grid - position
        projected = offset @ rotation @ intrinsics[view].T
        column, row = (projected[:, :2] / projected[:, 2:]).floor().long().unbind(1)
        inside = (row >= 0) & (row < cameras.height) & (column >= 0) & (column < cameras.width)
        row, column = row.clamp(0, cameras.height - 1), column.clamp(0, cameras.width - 1)
        behind = offset.norm(dim=1) > frame.depth[view, 0][row, column]
        solid &= inside & behind & (frame.opacity[view, 0][row, column] > SOLID)
    return solid.reshape(CELLS, CELLS, CELLS)


def _some(shape: Shape) -> tuple[Tensor, Tensor]:
    """The same number of points of every surface, at random, and their normals."""
    chosen = torch.randint(len(shape.points), (POINTS,), generator=torch.Generator().manual_seed(SEED))
    return shape.points[chosen], shape.normals[chosen]
