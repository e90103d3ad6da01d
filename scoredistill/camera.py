"""Cameras and rays.

World: glTF's frame, right-handed, y up; the object stands at the origin and faces +z.
Camera: OpenCV's frame, x right, y down, z forward; `c2w` maps camera to world.
Azimuth 0 views the front and grows towards +x (counter-clockwise seen from above); angles in radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

ORBIT_RADIUS = (2.65, 2.95)
FOV_DEG = 40.0
"""The default orbit: an object in the ball of radius 0.85 fills the image without leaving it, asin(.85 / 2.65) < 20."""


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras that share one image size.

    `azimuth`, `elevation` (radians) and `radius` are the *nominal* orbit, which conditions the prior (view words or
    poses). The pose `c2w` may be jittered around it.
    """

    c2w: Float[Tensor, "B 4 4"]
    fov: Float[Tensor, "B"]  # vertical, radians
    height: int
    width: int
    azimuth: Float[Tensor, "B"]
    elevation: Float[Tensor, "B"]
    radius: Float[Tensor, "B"]

    def __len__(self) -> int:
        return len(self.c2w)

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras with poses on `device`; the nominal orbit, read by priors only, stays on the CPU."""
        return replace(self, c2w=self.c2w.to(device), fov=self.fov.to(device))

    def rays(self) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 3"]]:
        """Origins and unit directions of the rays through the pixel centers, in world coordinates."""
        device, dtype = self.c2w.device, self.c2w.dtype
        focal = 0.5 * self.height / torch.tan(0.5 * self.fov)  # [B], in pixels; pixels are square
        v = torch.arange(self.height, device=device, dtype=dtype) + 0.5 - 0.5 * self.height
        u = torch.arange(self.width, device=device, dtype=dtype) + 0.5 - 0.5 * self.width
        v, u = torch.meshgrid(v, u, indexing="ij")
        inverse = 1 / focal[:, None, None]
        local = torch.stack([u * inverse, v * inverse, torch.ones_like(inverse).expand(-1, *u.shape)], -1)
        world = torch.einsum("bij,bhwj->bhwi", self.c2w[:, :3, :3], local)
        directions = torch.nn.functional.normalize(world, dim=-1)
        origins = self.c2w[:, None, None, :3, 3].expand_as(directions)
        return origins, directions

    def intrinsics(self) -> Float[Tensor, "B 3 3"]:
        """K such that pixel = K @ point in the camera frame / depth; (0, 0) is the top left corner of the image."""
        focal = 0.5 * self.height / torch.tan(0.5 * self.fov)
        K = torch.zeros(len(self), 3, 3, device=focal.device, dtype=focal.dtype)
        K[:, 0, 0] = K[:, 1, 1] = focal
        K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = 0.5 * self.width, 0.5 * self.height, 1
        return K

    def __getitem__(self, index: slice | Tensor) -> Cameras:
        """A sub-batch (slice, index tensor or mask)."""
        nominal = (self.azimuth[index], self.elevation[index], self.radius[index])
        return Cameras(self.c2w[index], self.fov[index], self.height, self.width, *nominal)


def look_at(
    position: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"], up: Float[Tensor, "B 3"]
) -> Float[Tensor, "B 4 4"]:
    """Camera-to-world matrices (OpenCV axes) of cameras at `position` with `target` at the image center."""
    forward = torch.nn.functional.normalize(target - position, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    c2w = torch.eye(4, device=position.device, dtype=position.dtype).repeat(len(position), 1, 1)
    c2w[:, :3, :] = torch.stack([right, down, forward, position], -1)
    return c2w


def orbit(
    azimuth: Float[Tensor, "B"],
    elevation: Float[Tensor, "B"],
    radius: Float[Tensor, "B"],
    fov: Float[Tensor, "B"],
    size: int,
    *,
    position_jitter: Float[Tensor, "B 3"] | None = None,
    target_jitter: Float[Tensor, "B 3"] | None = None,
    up_jitter: Float[Tensor, "B 3"] | None = None,
) -> Cameras:
    """Square cameras on a sphere around the origin: position = r (sin a cos e, sin e, cos a cos e).

    Angles are in radians, |elevation| < pi/2; images have `size` x `size` pixels. The jitters are added to the
    position, to the look-at point (origin) and to the up vector (+y), in world units; they leave the nominal orbit
    unchanged.
    """
    direction = torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], -1)
    position = radius[:, None] * direction
    target = torch.zeros_like(position)
    up = torch.zeros_like(position)
    up[:, 1] = 1
    position = position if position_jitter is None else position + position_jitter
    target = target if target_jitter is None else target_jitter
    up = up if up_jitter is None else up + up_jitter
    return Cameras(look_at(position, target, up), fov, size, size, azimuth, elevation, radius)


def ring(
    count: int, size: int, *, elevation_deg: float = 15.0, radius: float = 2.8, fov_deg: float = FOV_DEG
) -> Cameras:
    """`count` cameras evenly around the object, starting at the front; the last one does not repeat the first."""
    azimuth = torch.arange(count) * (2 * math.pi / count)
    azimuth = torch.where(azimuth > math.pi, azimuth - 2 * math.pi, azimuth)  # wrapped to (-pi, pi]
    constant = torch.ones(count)
    return orbit(
        azimuth, math.radians(elevation_deg) * constant, radius * constant, math.radians(fov_deg) * constant, size
    )
