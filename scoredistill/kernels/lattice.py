"""Volume rendering of values on a lattice: for many views of one volume, without a network.

R rays   X Y Z points along the axes of the lattice   z distance along a ray of unit direction
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from scoredistill.kernels import backend
from scoredistill.kernels.march import box_span
from scoredistill.kernels.types import Lattice

PORTION = 1 << 12
"""Rays that the reference renders at a time."""


@dataclass(frozen=True)
class LatticeColors:
    """Composites along rays; all zero for a ray that meets nothing."""

    albedo: Float[Tensor, "R 3"]  # sum_i w_i albedo_i
    opacity: Float[Tensor, "R"]  # sum_i w_i
    depth: Float[Tensor, "R"]  # mean z, weighted by w_i
    normal: Float[Tensor, "R 3"]  # sum_i w_i normal_i


def render_lattice(
    lattice: Lattice,
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    step: float,
) -> LatticeColors:
    """Composite samples every `step` from the point where a ray enters the lattice (Mildenhall et al. 2020, eq. 3).

    Without gradients.
    """
    if backend.use_warp(origins, directions, lattice.values):
        from scoredistill.kernels.warp import lattice as warp

        return LatticeColors(*warp.render_lattice(lattice, origins, directions, step))
    rays = zip(origins.split(PORTION), directions.split(PORTION), strict=True)
    parts = [reference(lattice, *some, step) for some in rays]
    return LatticeColors(*(torch.cat(values) for values in zip(*(vars(part).values() for part in parts), strict=True)))


@torch.no_grad()
def reference(
    lattice: Lattice,
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    step: float,
) -> LatticeColors:
    """`render_lattice` in plain torch."""
    enter, leave = box_span(origins, directions, lattice.low, lattice.high)
    longest = int(((leave - enter).clamp(min=0).max() / step).ceil()) if len(origins) else 0
    left = enter[:, None] + step * torch.arange(longest, device=enter.device)
    dz = (leave[:, None] - left).clamp(0, step)
    z = left + 0.5 * step
    values = _interpolated(lattice, origins[:, None] + z[..., None] * directions[:, None])
    density = values[..., 0].clamp(min=1e-12)
    depth = values[..., 0] * dz
    weight = torch.exp(depth - depth.cumsum(1)) * -torch.expm1(-depth)
    opacity = weight.sum(1)
    albedo, normal = values[..., 1:4] / density[..., None], normalize(values[..., 4:7], dim=-1, eps=1e-12)
    normals = (weight[..., None] * normal).sum(1)
    mean = (weight * z).sum(1) / opacity.clamp(min=1e-12)
    return LatticeColors((weight[..., None] * albedo).sum(1), opacity, mean, normals)


def _interpolated(lattice: Lattice, points: Float[Tensor, "R S 3"]) -> Float[Tensor, "R S 8"]:
    """Trilinear interpolation of the values at points; outside those of the nearest face."""
    place = 2 * (points - lattice.low) / (lattice.high - lattice.low) - 1
    volume = lattice.values.permute(3, 0, 1, 2)[None]
    found = grid_sample(volume, place.flip(-1)[None, None], align_corners=True, padding_mode="border")
    return found[0, :, 0].movedim(0, -1)
