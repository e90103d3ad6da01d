"""A NeRF as a scene: a hash field in an occupancy grid, volume-rendered, shaded per pixel.

B views of H x W pixels   R = B H W rays   G cells along a side of the occupancy grid   distances in world units
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.config import Config, Count, Fraction, LearningRate, Natural, NonNegative, Positive, Range
from scoredistill.contracts import Field, Frame
from scoredistill.kernels.march import march
from scoredistill.render.shading import daylight, lambert
from scoredistill.render.tiles import in_tiles
from scoredistill.render.volume import NormalsAt, RayColors, render_rays
from scoredistill.scenes import regularizers as losses
from scoredistill.scenes.nerf.config import (
    EnvironmentConfig,
    GridConfig,
    LambertConfig,
    NerfRegularizers,
    Normals,
    Shading,
)
from scoredistill.scenes.nerf.draft import Draft, baked
from scoredistill.scenes.nerf.environment import Environment
from scoredistill.scenes.nerf.field import HashField
from scoredistill.scenes.nerf.occupancy import OccupancyGrid, VisibleField

UPDATE_EVERY = 16
"""Steps between updates of the occupancy grid (nerfacc 0.5.2)."""
WARM_UP = 256
"""First steps, in which every update evaluates all cells (nerfacc 0.5.2)."""


@dataclass(frozen=True)
class NerfConfig(Config):
    """NeRF hyperparameters."""

    bounds: Annotated[float, Range(0.1, 100)] = 1.0  # the volume is the cube [-bounds, bounds]^3, world units
    grid: GridConfig = field(default_factory=GridConfig)  # the hash grid
    hidden: Annotated[int, Range(1, 1024)] = 32  # width of the density and albedo networks; published: 64
    blob_strength: NonNegative = 10.0  # initial density logit at the center
    blob_radius: Positive = 0.5  # radius of the initial ball of density, world units
    samples: Annotated[int, Range(2, 8192)] = 96  # ray samples along the diagonal of the volume
    tile: Natural = 0  # rays rendered at a time, which limits the memory of a step; 0: all of them
    occupancy: Annotated[int, Range(2, 512)] = 32  # cells along each axis of the occupancy grid
    occupancy_decay: Fraction = 0.8  # decay of a cell per update; published: .95, which forgets within 1,000 steps
    occupancy_threshold: NonNegative = 1e-3  # smallest optical depth per step of an occupied cell; published: .01
    least_alpha: Fraction = 0.0  # smallest alpha of a rendered sample; published: .01
    normals: Normals = "finite"  # normals from finite differences of the density logit, or its analytic gradient
    normals_at: NormalsAt = "surface"  # one normal per ray at its surface, or one for every sample
    shading: Shading = "daylight"  # daylight: fixed light; albedo: no light; lambert: a random point light
    lambert: LambertConfig = field(default_factory=LambertConfig)  # the random point light of shading lambert
    lr_grid: LearningRate = 1e-2  # learning rate of the hash grid
    lr_mlp: LearningRate = 5e-3  # learning rate of the networks; published: 1e-3, for runs of 10,000 steps
    first_levels: Count = 8  # initially active hash-grid levels
    level_every: Count = 500  # optimization steps between the activations of further levels
    level_after: Natural = 2000  # optimization steps before the first of these
    regularizers: NerfRegularizers = field(default_factory=NerfRegularizers)  # loss weights
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)  # background of training renders

    def build(self, *, rng: torch.Generator, steps: int, resolution: int) -> NeRF:
        """The scene before the first step."""
        return NeRF(self, rng)


class NeRF(nn.Module):
    """The scene of DreamFusion and its followers (Poole et al. 2023), sized by a `NerfConfig`."""

    age: Tensor

    def __init__(self, config: NerfConfig, rng: torch.Generator) -> None:
        super().__init__()
        self.config = s = config
        self.step_length = 2 * s.bounds * 3**0.5 / s.samples
        self.field = HashField(
            s.grid.layout(),
            rng,
            bounds=s.bounds,
            hidden=s.hidden,
            blob_strength=s.blob_strength,
            blob_radius=s.blob_radius,
            normals=s.normals,
        )
        self.grid = OccupancyGrid(s.occupancy, s.bounds, self.step_length, s.occupancy_decay, s.occupancy_threshold)
        self.register_buffer("age", torch.zeros((), dtype=torch.long))  # steps done
        self.grid.update(self.field.density, rng, everywhere=True)
        self.environment = Environment(s.environment, rng) if s.environment.learned else None

    def render(self, cameras: Cameras, background: Float[Tensor, "3"], rng: torch.Generator | None = None) -> Frame:
        """rgb = sum_i w_i albedo_i * light(normal) + (1 - opacity) background; see `Scene.render`.

        A learned environment is the background of training renders; all others have the background color.
        """
        origins, directions = (vectors.reshape(-1, 3) for vectors in cameras.rays())
        shift = torch.zeros_like(origins[:, 0]) if rng is None else torch.rand(len(origins), generator=rng).to(origins)
        self.field.active = self._active_levels()
        least = min(self.config.least_alpha, float(self.grid.depth.mean())) if self.config.least_alpha else 0.0
        render = partial(self._render_rays, self.grid.occupied(), least)
        rays = in_tiles(render, (origins, directions, shift), tuple(self.field.parameters()), self.config.tile or None)
        return self.composed(rays, cameras, (origins, directions), background, rng)

    def composed(
        self,
        rays: RayColors,
        cameras: Cameras,
        lines: tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]],
        background: Float[Tensor, "3"],
        rng: torch.Generator | None = None,
    ) -> Frame:
        """The images of rays composited along `lines` (origins, directions), shaded, over the background."""
        shape = (len(cameras), cameras.height, cameras.width)
        origins, directions = lines
        color = self._shade(rays, origins, directions, cameras, rng)
        behind = self.environment(directions, rng) if self.environment and rng else background
        rgb = color + (1 - rays.opacity)[:, None] * behind

        def image(values: Tensor) -> Tensor:
            return values.reshape(*shape, -1).permute(0, 3, 1, 2)

        per_ray = {"orient": image(rays.orient), "z_variance": image(rays.z_variance)}
        return Frame(image(rgb), image(rays.opacity), image(rays.depth), image(rays.normal), per_ray)

    def _render_rays(
        self,
        occupied: Bool[Tensor, "G G G"],
        least_alpha: float,
        origins: Float[Tensor, "R 3"],
        directions: Float[Tensor, "R 3"],
        shift: Float[Tensor, "R"],
    ) -> RayColors:
        """The composited field along rays, unlit."""
        samples = march(origins, directions, occupied, self.config.bounds, self.step_length, shift)
        normals_at = self.config.normals_at
        return render_rays(self.field, origins, directions, samples, normals_at=normals_at, least_alpha=least_alpha)

    @property
    def lit(self) -> bool:
        """Whether renders are multiplied by the fixed daylight shading."""
        return self.config.shading == "daylight"

    def volume(self) -> Field:
        """The field as it is rendered, for mesh export: empty where the occupancy grid lets rays skip."""
        self.field.active = self._active_levels()
        return VisibleField(self.field, self.grid.occupied())

    def draft(self, cell: float) -> NeRF | Draft:
        """The scene with its field on a lattice of about this cell; see `contracts.HasDraft`.

        The scene itself where that is fast enough: with one normal per ray, and on a GPU.
        """
        if self.config.normals_at == "surface" or self.field.table.is_cuda:
            return self
        self.field.active = self._active_levels()
        lattice = baked(self.field, self.grid.occupied(), cell)
        return Draft(lattice, max(self.step_length, lattice.cell), self.composed, self.lit)

    def param_groups(self) -> list[dict[str, Any]]:
        """The hash grid, the networks and the environment, each at its learning rate."""
        networks = [*self.field.density_mlp.parameters(), *self.field.albedo_mlp.parameters()]
        groups = [
            {"name": "grid", "params": [self.field.table], "lr": self.config.lr_grid},
            {"name": "mlp", "params": networks, "lr": self.config.lr_mlp},
        ]
        if self.environment:
            learned = list(self.environment.parameters())
            groups.append({"name": "environment", "params": learned, "lr": self.environment.config.lr})
        return groups

    def regularizer(self, frame: Frame, cameras: Cameras, progress: float) -> Float[Tensor, ""]:
        """The weighted sum of the losses of `NerfRegularizers`; terms of weight zero are not computed."""
        s, per_ray = self.config.regularizers, frame.ray_losses
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
        """After step number `step` (from 0): activate further levels, update the occupancy grid."""
        self.age.fill_(step + 1)
        if (step + 1) % UPDATE_EVERY == 0:
            self.field.active = self._active_levels()
            self.grid.update(self.field.density, rng, everywhere=step < WARM_UP)

    def _active_levels(self) -> int:
        s = self.config
        grown = max(int(self.age) - s.level_after, 0) // s.level_every
        return min(s.first_levels + grown, s.grid.levels)

    def _shade(
        self,
        rays: RayColors,
        origins: Float[Tensor, "R 3"],
        directions: Float[Tensor, "R 3"],
        cameras: Cameras,
        rng: torch.Generator | None,
    ) -> Float[Tensor, "R 3"]:
        """Composited albedo times the light on the pixel's mean normal (deferred shading)."""
        if self.config.shading == "albedo":
            return rays.albedo
        normal = nn.functional.normalize(rays.normal, dim=-1, eps=1e-6)
        if self.config.shading == "daylight":
            return rays.albedo * daylight(normal, -directions)[:, None]
        draw = self.config.lambert
        if rng is None or int(self.age) < draw.after or _uniform(rng) < draw.albedo_share:
            return rays.albedo
        surface = origins + rays.depth[:, None].detach() * directions
        light = _light(cameras, draw, rng).repeat_interleave(len(origins) // len(cameras), 0)
        textureless = _uniform(rng) < draw.textureless_share
        ambient = draw.ambient_min + (draw.ambient_max - draw.ambient_min) * _uniform(rng)
        to_light = nn.functional.normalize(light - surface, dim=-1)
        irradiance = lambert(normal, to_light, ambient=ambient, diffuse=1 - ambient)[:, None]
        return irradiance * (rays.opacity[:, None].expand(-1, 3) if textureless else rays.albedo)


def _uniform(rng: torch.Generator) -> float:
    return float(torch.rand((), generator=rng))


def _light(cameras: Cameras, draw: LambertConfig, rng: torch.Generator) -> Float[Tensor, "B 3"]:
    """A light for each view: along normalize(camera + spread N(0, I)), at a random distance from the center."""
    position = cameras.c2w[:, :3, 3]
    offset = draw.spread * torch.randn(position.shape, generator=rng).to(position)
    direction = nn.functional.normalize(position + offset, dim=-1)
    distance = draw.nearest + (draw.farthest - draw.nearest) * torch.rand(len(cameras), 1, generator=rng)
    return distance.to(position) * direction
