"""NeRF hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from scoredistill.config import Config, Count, Fraction, Natural, NonNegative, Positive, Range, ordered
from scoredistill.kernels.hashgrid import GridLayout
from scoredistill.render.volume import NormalsAt
from scoredistill.scenes.regularizers import ConvexityForm, Ramp, constant

if TYPE_CHECKING:
    from scoredistill.scenes.nerf.nerf import NeRF

Normals = Literal["finite", "analytic"]
Shading = Literal["daylight", "albedo", "lambert"]


@dataclass(frozen=True)
class GridConfig(Config):
    """The multiresolution hash grid (Mueller et al. 2022)."""

    levels: Annotated[int, Range(1, 32)] = 6  # number of levels
    coarsest: Annotated[int, Range(1, 4096)] = 12  # cells along a side of the coarsest level
    finest: Annotated[int, Range(1, 65536)] = 96  # cells along a side of the finest level
    table: Annotated[int, Range(2, 2**24)] = 2**16  # entries of each level's table, at most; a power of two

    def check(self) -> None:
        ordered("coarsest", "finest", self)
        if self.table & (self.table - 1):
            raise ValueError(f"table must be a power of two, got {self.table}")

    def layout(self) -> GridLayout:
        """The layout as the kernels take it."""
        return GridLayout(levels=self.levels, coarsest=self.coarsest, finest=self.finest, table=self.table)


@dataclass(frozen=True)
class LambertConfig(Config):
    """Shading by a random point light (Poole et al. 2022, section 3.1), in SDI's official shares."""

    after: Natural = 1000  # first optimization steps, which render plain albedo
    albedo_share: Fraction = 0.7  # share of the later steps that render plain albedo
    textureless_share: Fraction = 0.75  # share of the shaded steps that render white albedo
    nearest: Positive = 0.8  # smallest distance of the light from the center, world units
    farthest: Positive = 1.5  # largest distance of the light from the center, world units

    def check(self) -> None:
        ordered("nearest", "farthest", self)


@dataclass(frozen=True)
class NerfRegularizers(Config):
    """Loss weights over the run, relative to mean-reduced guidance; SDI's, with the paper's own convexity term."""

    orient: Ramp = constant(0.1)  # no visible surface faces away from the camera
    sparsity: Ramp = Ramp(0.15, 0.0, 0.0, 0.3)  # little matter, no fog
    opaque: Ramp = constant(0.1)  # opacity is 0 or 1
    z_variance: Ramp = constant(1.0)  # thin surfaces
    convexity: Ramp = Ramp(0.1, 0.0, 0.4, 0.4)  # no hollow faces
    convexity_form: ConvexityForm = "clamped"  # the paper's, its linear form, or the official code's


@dataclass(frozen=True)
class EnvironmentConfig(Config):
    """A learned background of training renders (SDI's official configuration)."""

    learned: bool = False  # learn the background of training renders, instead of the background color
    lr: Positive = 1e-3  # learning rate of the environment
    random_share: Fraction = 0.0  # share of training renders over one random color instead


@dataclass(frozen=True)
class NerfConfig(Config):
    """NeRF hyperparameters."""

    bounds: Annotated[float, Range(0.1, 100)] = 1.0  # the volume is the cube [-bounds, bounds]^3, world units
    grid: GridConfig = field(default_factory=GridConfig)  # the hash grid
    hidden: Annotated[int, Range(1, 1024)] = 32  # width of the density and albedo networks; published: 64
    blob_strength: NonNegative = 10.0  # initial density logit at the center
    blob_radius: Positive = 0.5  # radius of the initial ball of density, world units
    samples: Annotated[int, Range(2, 8192)] = 96  # ray samples along the diagonal of the volume
    tile: Natural = 0  # rays rendered at a time, which bounds the memory of a step; 0: all of them
    occupancy: Annotated[int, Range(2, 512)] = 32  # cells along a side of the occupancy grid
    occupancy_decay: Fraction = 0.8  # of a cell at each update; published: .95, which forgets within 1,000 steps
    normals: Normals = "finite"  # by finite differences, or analytically
    normals_at: NormalsAt = "surface"  # one normal per ray at its surface, or one for every sample
    shading: Shading = "daylight"  # fixed light from the camera, plain albedo, or a random point light
    lambert: LambertConfig = field(default_factory=LambertConfig)  # the random point light of shading lambert
    lr_grid: Positive = 1e-2  # learning rate of the hash grid
    lr_mlp: Positive = 5e-3  # learning rate of the networks; published: 1e-3, for runs of 10,000 steps
    first_levels: Count = 8  # initially active hash-grid levels
    level_every: Count = 500  # optimization steps between further levels
    level_after: Natural = 2000  # optimization steps before the first further level
    regularizers: NerfRegularizers = field(default_factory=NerfRegularizers)  # loss weights
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)  # background of training renders

    def build(self, *, rng: torch.Generator, steps: int, resolution: int) -> NeRF:
        """The scene before the first step."""
        from scoredistill.scenes.nerf.nerf import NeRF

        return NeRF(self, rng)
