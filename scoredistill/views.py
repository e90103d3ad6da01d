"""Camera distributions of the training views."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

import torch
from torch import Tensor

from scoredistill.camera import FOV_DEG, ORBIT_RADIUS, Cameras, orbit
from scoredistill.config import Config, Deviation, Elevation, FieldOfView, Range, ZeroOr, ordered

Distance = Annotated[float, Range(0.01, 1000)]
NoOrDistance = Annotated[float, ZeroOr(0.01, 1000)]
NoOrFieldOfView = Annotated[float, ZeroOr(1, 170)]


@dataclass(frozen=True)
class OrbitConfig(Config):
    """Random cameras around the object, uniform within ranges; lengths are in world units.

    Half of the elevations are uniform in degrees, half uniform on the band of the sphere. The azimuths of a batch are
    stratified: one in each of B equal slices, so that every step sees the object from all sides.
    """

    elevation_min_deg: Elevation = -10.0  # lowest camera elevation, degrees
    elevation_max_deg: Elevation = 45.0  # highest camera elevation, degrees
    radius_min: Distance = ORBIT_RADIUS[0]  # smallest camera distance
    radius_max: Distance = ORBIT_RADIUS[1]  # largest camera distance
    fov_min_deg: FieldOfView = FOV_DEG  # smallest vertical field of view, degrees
    fov_max_deg: FieldOfView = FOV_DEG  # largest vertical field of view, degrees
    position_jitter: Deviation = 0.0  # half-range of a uniform offset of the camera position
    target_jitter: Deviation = 0.0  # standard deviation of the look-at point
    up_jitter: Deviation = 0.0  # standard deviation of the up vector
    constant_size: bool = False  # radius_min, radius_max are half the visible height at the object, for any fov
    evaluation_radius: NoOrDistance = 0.0  # camera distance of official evaluations; 0: the largest of training
    evaluation_fov_deg: NoOrFieldOfView = 0.0  # field of view of official evaluations; 0: the largest of training

    def check(self) -> None:
        for name in ("elevation_{}_deg", "radius_{}", "fov_{}_deg"):
            ordered(name.format("min"), name.format("max"), self)

    def cameras(self, batch: int, rng: torch.Generator, *, resolution: int, group: int = 1) -> Cameras:
        """`batch` random cameras of `resolution` pixels, in groups of `group` evenly around at one elevation.

        `constant_size` keeps the object's size at every field of view: distance = radius / tan(fov / 2) (Shi et al.
        2023). Jitters differ between the cameras of a group.
        """
        groups = batch // group

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(groups, generator=rng)

        def each(values: Tensor) -> Tensor:
            return values.repeat_interleave(group)

        slices = (torch.arange(groups) + torch.rand(groups, generator=rng)) / groups
        start = torch.remainder(slices + torch.rand(1, generator=rng), 1) / group
        turns = each(start) + torch.arange(group).repeat(groups) / group
        low, high = math.radians(self.elevation_min_deg), math.radians(self.elevation_max_deg)
        band = torch.asin(uniform(math.sin(low), math.sin(high)))
        elevation = torch.where(torch.rand(groups, generator=rng) < 0.5, uniform(low, high), band)
        fov = uniform(math.radians(self.fov_min_deg), math.radians(self.fov_max_deg))
        radius = uniform(self.radius_min, self.radius_max)
        if self.constant_size:
            radius = radius / torch.tan(0.5 * fov)
        return orbit(
            turns * (2 * math.pi) - math.pi,
            each(elevation),
            each(radius),
            each(fov),
            resolution,
            position_jitter=self.position_jitter * (2 * torch.rand(batch, 3, generator=rng) - 1),
            target_jitter=self.target_jitter * torch.randn(batch, 3, generator=rng),
            up_jitter=self.up_jitter * torch.randn(batch, 3, generator=rng),
        )

    def middle(self) -> tuple[float, float]:
        """Radius and field of view (degrees) in the middle of the ranges: the cameras of previews and metrics."""
        fov_deg, radius = fmean((self.fov_min_deg, self.fov_max_deg)), fmean((self.radius_min, self.radius_max))
        return self._distance(radius, fov_deg), fov_deg

    def evaluation(self) -> tuple[float, float]:
        """Radius and field of view (degrees) of the official evaluation camera."""
        fov_deg = self.evaluation_fov_deg or self.fov_max_deg
        return self.evaluation_radius or self._distance(self.radius_max, fov_deg), fov_deg

    def _distance(self, radius: float, fov_deg: float) -> float:
        return radius / math.tan(math.radians(fov_deg) / 2) if self.constant_size else radius


MVDREAM_ORBIT = OrbitConfig(
    0.0, 30.0, 0.8, 1.0, 15.0, 60.0, constant_size=True, evaluation_radius=3.0, evaluation_fov_deg=40.0
)
"""The official cameras of MVDream."""
ZERO123_ORBIT = OrbitConfig(-10.0, 80.0, 3.8, 3.8, 20.0, 20.0)
"""The official cameras of Zero-1-to-3."""


def no_cameras(progress: float, batch: int, rng: torch.Generator) -> None:
    """The views of a 2D image: none."""
    return
