"""Perspective projection of 3D Gaussians to 2D ones (Zwicker et al. 2001, "EWA splatting"; Kerbl et al. 2023).

N Gaussians of mean, standard deviations s, rotation q (w x y z)   B views   camera: x right, y down, z forward
footprint     a 2D Gaussian in pixels, (0, 0) the top left corner of the image
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.kernels import backend
from scoredistill.kernels.types import LOW_PASS, MARGIN, NEAR, Footprints

__all__ = ["LOW_PASS", "MARGIN", "NEAR", "Footprints", "project", "reference", "rotation_matrices"]


def rotation_matrices(quaternions: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """R(q) of q / |q|, q = (w, x, y, z); its columns are the Gaussian's own axes in the world."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def project(
    mean: Float[Tensor, "N 3"], stds: Float[Tensor, "N 3"], rotation: Float[Tensor, "N 4"], cameras: Cameras
) -> Footprints:
    """Footprints of N Gaussians in each of B views, differentiable in mean, stds and rotation (of any length).

    mean' = f (x, y) / z + center,   covariance' = J W R S S R^T W^T J^T + LOW_PASS I
    J = f [[1/z, 0, -u/z], [0, 1/z, -v/z]],  u, v = x/z, y/z clamped to MARGIN times the view
    (Zwicker et al. 2001, eq. 29-31; Kerbl et al. 2023, eq. 5). W: world to camera. Where rounding leaves the covariance
    no positive determinant (needles of thousands of pixels), the conic is 0, and the Gaussian is not drawn.
    """
    if backend.use_warp(mean, stds, rotation, cameras.c2w):
        from scoredistill.kernels.warp import project as warp

        return Footprints(*warp.project(mean, stds, rotation, cameras))
    return reference(mean, stds, rotation, cameras)


def reference(
    mean: Float[Tensor, "N 3"], stds: Float[Tensor, "N 3"], rotation: Float[Tensor, "N 4"], cameras: Cameras
) -> Footprints:
    """`project` in plain torch, for any device and dtype."""
    world_to_camera = cameras.c2w[:, :3, :3].transpose(1, 2)
    local = torch.einsum("bij,bnj->bni", world_to_camera, mean - cameras.c2w[:, None, :3, 3])
    depth = local[..., 2]
    z = depth.where(depth > NEAR, 1.0)  # Gaussians behind NEAR are not drawn; any nonzero number serves there
    tangent = torch.tan(0.5 * cameras.fov)[:, None]
    focal = 0.5 * cameras.height / tangent
    u, v = local[..., 0] / z, local[..., 1] / z
    center = mean.new_tensor([0.5 * cameras.width, 0.5 * cameras.height])
    wide, high = MARGIN * tangent * (cameras.width / cameras.height), MARGIN * tangent
    slope = torch.stack([_clamped(u, wide), _clamped(v, high)], -1)
    axes = rotation_matrices(rotation) * stds[:, None]  # R S
    turned = torch.einsum("bij,njk->bnik", world_to_camera, axes)  # W R S
    flat = (turned[..., :2, :] - slope[..., None] * turned[..., 2:, :]) * (focal / z)[..., None, None]  # J W R S
    across = (flat[..., 0, :] ** 2).sum(-1) + LOW_PASS
    down = (flat[..., 1, :] ** 2).sum(-1) + LOW_PASS
    mixed = (flat[..., 0, :] * flat[..., 1, :]).sum(-1)
    determinant = across * down - mixed**2
    determinant = determinant.where(determinant > 0, torch.inf)  # lost to rounding: the conic is 0 and draws nothing
    conic = torch.stack([down, -mixed, across], -1) / determinant[..., None]
    return Footprints(focal[..., None] * torch.stack([u, v], -1) + center, conic, depth)


def _clamped(value: Float[Tensor, "B N"], limit: Float[Tensor, "B 1"]) -> Float[Tensor, "B N"]:
    return torch.minimum(torch.maximum(value, -limit), limit)
