"""From where to look as training progresses: distributions of random cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scoredistill.camera import FOV_DEG, ORBIT_RADIUS, Cameras, orbit


@dataclass(frozen=True)
class RandomOrbit:
    """Random cameras around the object (METHODS 7.4): angles in degrees, lengths in world units, uniform in ranges.

    Half of the elevations are uniform in degrees, half uniform on the sphere band. The azimuths of a batch are
    stratified: one in each of B equal slices, so that a step sees the object from all round. Jitters: half-range of
    a uniform for the position, standard deviations of normals for the look-at point and the up vector.
    """

    size: int = 64
    elevation_deg: tuple[float, float] = (-10.0, 45.0)
    radius: tuple[float, float] = ORBIT_RADIUS
    fov_deg: tuple[float, float] = (FOV_DEG, FOV_DEG)
    position_jitter: float = 0.0
    target_jitter: float = 0.0
    up_jitter: float = 0.0

    def __call__(self, progress: float, batch: int, rng: torch.Generator) -> Cameras:
        """`batch` cameras; `progress` is not used by this distribution."""

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(batch, generator=rng)

        slices = (torch.arange(batch) + torch.rand(batch, generator=rng)) / batch
        azimuth = torch.remainder(slices + torch.rand(1, generator=rng), 1) * (2 * math.pi) - math.pi
        low, high = (math.radians(bound) for bound in self.elevation_deg)
        band = torch.asin(uniform(math.sin(low), math.sin(high)))
        elevation = torch.where(torch.rand(batch, generator=rng) < 0.5, uniform(low, high), band)
        fov = uniform(*(math.radians(bound) for bound in self.fov_deg))
        return orbit(
            azimuth,
            elevation,
            uniform(*self.radius),
            fov,
            self.size,
            position_jitter=self.position_jitter * (2 * torch.rand(batch, 3, generator=rng) - 1),
            target_jitter=self.target_jitter * torch.randn(batch, 3, generator=rng),
            up_jitter=self.up_jitter * torch.randn(batch, 3, generator=rng),
        )


def no_cameras(progress: float, batch: int, rng: torch.Generator) -> None:
    """The view of a flat image: none."""
    return
