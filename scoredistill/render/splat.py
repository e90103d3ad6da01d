"""Rendering of 3D Gaussians ("splats"): project, sort, composite (Kerbl et al. 2023).

N splats   B views of H x W pixels
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Gaussians
from scoredistill.kernels.project import Footprints, project, rotation_matrices
from scoredistill.kernels.rasterize import rasterize
from scoredistill.render.harmonics import color


@dataclass(frozen=True)
class SplatImages:
    """Rendered splats; `footprints` are their projections, whose gradient densification reads."""

    rgb: Float[Tensor, "B 3 H W"]  # times opacity
    opacity: Float[Tensor, "B 1 H W"]
    depth: Float[Tensor, "B 1 H W"]  # mean distance; 0 where the opacity is 0
    z_variance: Float[Tensor, "B 1 H W"]  # of the distance
    normal: Float[Tensor, "B 3 H W"]  # times opacity
    footprints: Footprints


def normals(splats: Gaussians, v: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
    """The shortest axis of each splat, oriented towards each camera; v from the camera to the splat."""
    shortest = splats.stds.argmin(-1)
    axis = rotation_matrices(splats.rotations)[torch.arange(len(shortest), device=shortest.device), :, shortest]
    facing_away = (axis * v).sum(-1, keepdim=True) > 0
    return torch.where(facing_away, -axis, axis)


def render_splats(splats: Gaussians, cameras: Cameras) -> SplatImages:
    """sum_i w_i (rgb_i, normal_i, distance_i), w_i as in `kernels.rasterize`; distances are those of the means."""
    footprints = project(splats.means, splats.stds, splats.rotations, cameras)
    offset = splats.means - cameras.c2w[:, None, :3, 3]
    distance = offset.norm(dim=-1, keepdim=True)
    v = offset / distance.clamp(min=torch.finfo(distance.dtype).eps)
    middle = cameras.c2w[:, :3, 3].norm(dim=-1)[:, None, None]
    z = distance - middle  # small numbers, so that the variance is not a difference of two large ones
    features = torch.cat([color(splats.harmonics, v), normals(splats, v), z, z * z], -1)
    image, opacity = rasterize(footprints, splats.opacities, features, cameras.height, cameras.width)
    inverse = 1 / opacity.clamp(min=torch.finfo(opacity.dtype).tiny ** 0.5)
    mean, square = image[:, 6:7] * inverse, image[:, 7:8] * inverse
    depth = (mean + middle[..., None]).where(opacity > 0, 0)
    return SplatImages(image[:, :3], opacity, depth, (square - mean**2).clamp(min=0), image[:, 3:6], footprints)
