"""From where to look as training progresses: distributions of random cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from scoredistill.camera import FOV_DEG, ORBIT_RADIUS, Cameras, orbit


@dataclass(frozen=True)
class RandomOrbit:
    """Random cameras around the object (METHODS 7.4): angles in degrees, lengths in world units, uniform in ranges.

    Half of the elevations are uniform in degrees, half uniform on the sphere band. The azimuths of a batch are
    stratified: one in each of B equal slices, so that a step sees the object from all round. Jitters: half-range of
    a uniform for the position, standard deviations of normals for the look-at point and the up vector.

    Cameras come in groups of `group`, evenly round the object and alike in all else, as priors of several views want
    them. `extent` instead of `radius` is half of what is seen at the object's distance: radius = extent / tan(fov / 2),
    so that the object has the same size at every fov (Shi et al. 2023).
    """

    size: int = 64
    elevation_deg: tuple[float, float] = (-10.0, 45.0)
    radius: tuple[float, float] = ORBIT_RADIUS
    fov_deg: tuple[float, float] = (FOV_DEG, FOV_DEG)
    position_jitter: float = 0.0
    target_jitter: float = 0.0
    up_jitter: float = 0.0
    group: int = 1
    extent: tuple[float, float] | None = None

    def __call__(self, progress: float, batch: int, rng: torch.Generator) -> Cameras:
        """`batch` cameras, whole groups of them; `progress` is not used by this distribution."""
        groups = batch // self.group

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(groups, generator=rng)

        def each(values: Tensor) -> Tensor:
            return values.repeat_interleave(self.group)

        slices = (torch.arange(groups) + torch.rand(groups, generator=rng)) / groups
        start = torch.remainder(slices + torch.rand(1, generator=rng), 1) / self.group
        turns = each(start) + torch.arange(self.group).repeat(groups) / self.group
        low, high = (math.radians(bound) for bound in self.elevation_deg)
        band = torch.asin(uniform(math.sin(low), math.sin(high)))
        elevation = torch.where(torch.rand(groups, generator=rng) < 0.5, uniform(low, high), band)
        fov = uniform(*(math.radians(bound) for bound in self.fov_deg))
        radius = uniform(*self.radius) if self.extent is None else uniform(*self.extent) / torch.tan(0.5 * fov)
        return orbit(
            turns * (2 * math.pi) - math.pi,
            each(elevation),
            each(radius),
            each(fov),
            self.size,
            position_jitter=self.position_jitter * (2 * torch.rand(batch, 3, generator=rng) - 1),
            target_jitter=self.target_jitter * torch.randn(batch, 3, generator=rng),
            up_jitter=self.up_jitter * torch.randn(batch, 3, generator=rng),
        )

    def middle(self) -> tuple[float, float]:
        """Radius and field of view (degrees) in the middle of the ranges: from where results are looked at."""
        fov_deg = fmean(self.fov_deg)
        if self.extent is None:
            return fmean(self.radius), fov_deg
        return fmean(self.extent) / math.tan(math.radians(fov_deg) / 2), fov_deg


def no_cameras(progress: float, batch: int, rng: torch.Generator) -> None:
    """The view of a flat image: none."""
    return
