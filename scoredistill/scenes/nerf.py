"""A neural radiance field as a scene: a hash field in an occupancy grid, volume-rendered, shaded per pixel.

B views of H x W pixels   R = B H W rays   G cells along a side of the occupancy grid   distances in world units
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as default
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.contracts import Field, Frame
from scoredistill.kernels.hashgrid import GridLayout
from scoredistill.kernels.march import march
from scoredistill.render.shading import daylight, lambert
from scoredistill.render.tiles import in_tiles
from scoredistill.render.volume import NormalsAt, RayColors, render_rays
from scoredistill.scenes import regularizers as losses
from scoredistill.scenes.environment import Environment, EnvironmentSettings
from scoredistill.scenes.field import HashField, Normals
from scoredistill.scenes.occupancy import OccupancyGrid, VisibleField
from scoredistill.scenes.regularizers import Ramp, constant

Shading = Literal["daylight", "albedo", "lambert"]

UPDATE_EVERY = 16
"""Steps between visits to the occupancy grid (nerfacc 0.5.2)."""
WARM_UP = 256
"""First steps, in which every visit looks into all cells (nerfacc 0.5.2)."""


@dataclass(frozen=True)
class LambertSettings:
    """Shading by a random point light (Poole et al. 2022, section 3.1), in SDI's official shares."""

    after: int = 1000  # steps that see plain albedo
    albedo_share: float = 0.7  # of the later steps, those that see plain albedo
    textureless_share: float = 0.75  # of the shaded steps, those that see white albedo
    nearest: float = 0.8  # distance of the light from the centre: uniform between these
    farthest: float = 1.5


@dataclass(frozen=True)
class RegularizerSettings:
    """Weights over the run, relative to mean-reduced guidance; SDI's, with the paper's own convexity term."""

    orient: Ramp = constant(0.1)
    sparsity: Ramp = Ramp(0.15, 0.0, 0.0, 0.3)
    opaque: Ramp = constant(0.1)
    z_variance: Ramp = constant(1.0)
    convexity: Ramp = Ramp(0.1, 0.0, 0.4, 0.4)
    convexity_form: losses.ConvexityForm = "clamped"


@dataclass(frozen=True)
class NerfSettings:
    """Everything a radiance field can be told."""

    bounds: float = 1.0  # the volume is [-bounds, bounds]^3
    grid: GridLayout = default(default_factory=GridLayout)
    hidden: int = 32  # width of the two small networks; published: 64
    blob_strength: float = 10.0
    blob_radius: float = 0.5
    samples: int = 96  # steps along the diagonal of the volume
    tile: int | None = None  # rays rendered at a time, which bounds the memory of a step; None: all of them
    occupancy: int = 32  # cells along a side
    occupancy_decay: float = 0.8  # of a cell at each visit; published: .95, which forgets within 1,000 steps
    normals: Normals = "finite"
    normals_at: NormalsAt = "surface"
    shading: Shading = "daylight"
    lambert: LambertSettings = default(default_factory=LambertSettings)
    lr_grid: float = 1e-2
    lr_mlp: float = 5e-3  # published: 1e-3, for runs of 10,000 steps
    first_levels: int = 8  # levels of the grid that speak from the start; a further one joins every
    band_every: int = 500  # so many steps
    band_after: int = 2000  # after this one
    regularizers: RegularizerSettings = default(default_factory=RegularizerSettings)
    environment: EnvironmentSettings | None = None  # learned, for training renders; None: the plain background


class NeRF(nn.Module):
    """The scene of DreamFusion and its followers (Poole et al. 2022), sized by `NerfSettings`."""

    age: Tensor

    def __init__(self, settings: NerfSettings, rng: torch.Generator) -> None:
        super().__init__()
        self.settings = s = settings
        self.step_length = 2 * s.bounds * 3**0.5 / s.samples
        self.field = HashField(
            s.grid,
            rng,
            bounds=s.bounds,
            hidden=s.hidden,
            blob_strength=s.blob_strength,
            blob_radius=s.blob_radius,
            normals=s.normals,
        )
        self.grid = OccupancyGrid(s.occupancy, s.bounds, self.step_length, s.occupancy_decay)
        self.register_buffer("age", torch.zeros((), dtype=torch.long))  # steps done
        self.grid.update(self.field.density, rng, everywhere=True)
        self.environment = Environment(s.environment, rng) if s.environment else None

    def render(self, cameras: Cameras, background: Float[Tensor, "3"], rng: torch.Generator | None = None) -> Frame:
        """rgb = sum_i w_i albedo_i * light(normal) + (1 - opacity) background; see `Scene.render`.

        Where an environment is learned, it is the background of training renders, and the plain one of all others.
        """
        shape = (len(cameras), cameras.height, cameras.width)
        origins, directions = (vectors.reshape(-1, 3) for vectors in cameras.rays())
        shift = torch.zeros_like(origins[:, 0]) if rng is None else torch.rand(len(origins), generator=rng).to(origins)
        self.field.active = self._active_levels()
        see = partial(self._see, self.grid.occupied())
        rays = in_tiles(see, (origins, directions, shift), tuple(self.field.parameters()), self.settings.tile)
        color = self._shade(rays, origins, directions, cameras, rng)
        behind = self.environment(directions, rng) if self.environment and rng else background
        rgb = color + (1 - rays.opacity)[:, None] * behind

        def image(values: Tensor) -> Tensor:
            return values.reshape(*shape, -1).permute(0, 3, 1, 2)

        per_ray = {"orient": image(rays.orient), "z_variance": image(rays.z_variance)}
        return Frame(image(rgb), image(rays.opacity), image(rays.depth), image(rays.normal), per_ray)

    def _see(
        self,
        occupied: Bool[Tensor, "G G G"],
        origins: Float[Tensor, "R 3"],
        directions: Float[Tensor, "R 3"],
        shift: Float[Tensor, "R"],
    ) -> RayColors:
        """What rays see of the field, before any light falls on it."""
        samples = march(origins, directions, occupied, self.settings.bounds, self.step_length, shift)
        return render_rays(self.field, origins, directions, samples, normals_at=self.settings.normals_at)

    def volume(self) -> Field:
        """The field as renders see it, for mesh export: nothing where the occupancy grid lets rays skip."""
        return VisibleField(self.field, self.grid.occupied())

    def param_groups(self) -> list[dict[str, Any]]:
        """The hash grid, the networks and the environment, each at its learning rate."""
        networks = [*self.field.density_mlp.parameters(), *self.field.albedo_mlp.parameters()]
        groups = [
            {"name": "grid", "params": [self.field.table], "lr": self.settings.lr_grid},
            {"name": "mlp", "params": networks, "lr": self.settings.lr_mlp},
        ]
        if self.environment:
            learned = list(self.environment.parameters())
            groups.append({"name": "environment", "params": learned, "lr": self.environment.settings.lr})
        return groups

    def regularizer(self, frame: Frame, cameras: Cameras, progress: float) -> Float[Tensor, ""]:
        """The weighted sum of the losses of `RegularizerSettings`; terms of weight zero are not computed."""
        s, per_ray = self.settings.regularizers, frame.ray_losses
        terms = (
            (s.orient, lambda: losses.orientation(per_ray["orient"], frame.opacity)),
            (s.sparsity, lambda: losses.sparsity(frame.opacity)),
            (s.opaque, lambda: losses.opaqueness(frame.opacity)),
            (s.z_variance, lambda: losses.z_variance(per_ray["z_variance"], frame.opacity)),
            (
                s.convexity,
                lambda: losses.convexity(frame.normal, frame.opacity, cameras.c2w, s.convexity_form),
            ),
        )
        return losses.total(terms, progress, frame.opacity)

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """After step number `step` (from 0): grow the progressive band, look into the occupancy grid."""
        self.age.fill_(step + 1)
        if (step + 1) % UPDATE_EVERY == 0:
            self.field.active = self._active_levels()
            self.grid.update(self.field.density, rng, everywhere=step < WARM_UP)

    def _active_levels(self) -> int:
        s = self.settings
        grown = max(int(self.age) - s.band_after, 0) // s.band_every
        return min(s.first_levels + grown, s.grid.levels)

    def _shade(
        self,
        rays: RayColors,
        origins: Float[Tensor, "R 3"],
        directions: Float[Tensor, "R 3"],
        cameras: Cameras,
        rng: torch.Generator | None,
    ) -> Float[Tensor, "R 3"]:
        """Composited albedo times the light on the pixel's mean normal (deferred: a pixel is lit once)."""
        if self.settings.shading == "albedo":
            return rays.albedo
        normal = nn.functional.normalize(rays.normal, dim=-1, eps=1e-6)
        if self.settings.shading == "daylight":
            return rays.albedo * daylight(normal, -directions)[:, None]
        draw = self.settings.lambert
        if rng is None or int(self.age) < draw.after or _uniform(rng) < draw.albedo_share:
            return rays.albedo
        surface = origins + rays.depth[:, None].detach() * directions
        light = _light(cameras, draw, rng).repeat_interleave(len(origins) // len(cameras), 0)
        irradiance = lambert(normal, nn.functional.normalize(light - surface, dim=-1))[:, None]
        textureless = _uniform(rng) < draw.textureless_share
        return irradiance * (rays.opacity[:, None].expand(-1, 3) if textureless else rays.albedo)


def _uniform(rng: torch.Generator) -> float:
    return float(torch.rand((), generator=rng))


def _light(cameras: Cameras, draw: LambertSettings, rng: torch.Generator) -> Float[Tensor, "B 3"]:
    """A light for each view: along normalise(camera + N(0, I)), at a random distance from the centre."""
    position = cameras.c2w[:, :3, 3]
    direction = nn.functional.normalize(position + torch.randn(position.shape, generator=rng).to(position), dim=-1)
    distance = draw.nearest + (draw.farthest - draw.nearest) * torch.rand(len(cameras), 1, generator=rng)
    return distance.to(position) * direction
