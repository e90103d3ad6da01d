"""A NeRF on a lattice: its field, evaluated once, for many views.

X Y Z points along the axes of the lattice   P points in occupied cells
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Frame
from scoredistill.kernels.lattice import render_lattice
from scoredistill.kernels.march import occupied_box
from scoredistill.kernels.types import LATTICE_CHANNELS, Lattice
from scoredistill.render.volume import RayColors, Volume
from scoredistill.scenes.nerf.occupancy import inside

MOST = 1 << 23
"""Points of a lattice, at most: 268 MB."""
CHUNK = 1 << 18
"""Points per evaluation of the field."""


@dataclass(frozen=True)
class Draft:
    """The lattice, the ray step, and how composited rays become images."""

    lattice: Lattice
    step: float
    composed: Callable[[RayColors, Cameras, tuple[Tensor, Tensor], Tensor], Frame]
    lit: bool = False  # renders are multiplied by the fixed daylight shading

    @torch.no_grad()
    def render(self, cameras: Cameras, background: Float[Tensor, "3"]) -> Frame:
        """The views, without losses of rays."""
        origins, directions = (vectors.reshape(-1, 3) for vectors in cameras.rays())
        found = render_lattice(self.lattice, origins, directions, self.step)
        none = torch.zeros_like(found.opacity)
        rays = RayColors(found.albedo, found.opacity, found.depth, none, found.normal, none)
        return self.composed(rays, cameras, (origins, directions), background)


@torch.no_grad()
def baked(volume: Volume, occupied: Bool[Tensor, "G G G"], cell: float) -> Lattice:
    """The volume at the points of a lattice around all occupied cells, zero in the others.

    `cell` grows where there would be more than `MOST` points. Colors and normals are multiplied by the density, so that
    interpolation weighs them by it: an empty neighbor has none.
    """
    bounds: float = volume.bounds  # type: ignore[attr-defined]
    low, high = occupied_box(occupied, bounds, occupied.new_zeros(3, dtype=torch.float32))
    low, extent = torch.minimum(low, high), (high - low).clamp(min=2 * cell)
    cell = max(cell, float((extent.prod() / MOST) ** (1 / 3)))
    counts = (extent / cell).int() + 2
    axes = [start + cell * torch.arange(int(n), device=low.device) for start, n in zip(low, counts, strict=True)]
    values = torch.zeros(*map(len, axes), LATTICE_CHANNELS, device=low.device)
    flat = values.view(-1, LATTICE_CHANNELS)
    planes = max(CHUNK // (len(axes[1]) * len(axes[2])), 1)
    done = 0
    for part in axes[0].split(planes):
        points = torch.cartesian_prod(part, axes[1], axes[2])
        index = inside(occupied, bounds, points)
        if len(index):
            flat[done + index] = _evaluated(volume, points[index])
        done += len(points)
    return Lattice(values, low, cell)


def _evaluated(volume: Volume, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 8"]:
    """Density, color and normal times density, and zero."""
    density, albedo = volume.evaluate(points)
    vectors = torch.cat([albedo, volume.normal(points), torch.zeros_like(density[:, None])], 1)
    return torch.cat([density[:, None], density[:, None] * vectors], 1)
