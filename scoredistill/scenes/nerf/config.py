"""Parts of the NeRF hyperparameters; `nerf.NerfConfig` is the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from scoredistill.config import Config, Deviation, Fraction, LearningRate, Natural, Positive, Range, ordered
from scoredistill.kernels.hashgrid import GridLayout
from scoredistill.scenes.regularizers import ConvexityForm, Ramp, constant

Normals = Literal["finite", "analytic"]
Shading = Literal["daylight", "albedo", "lambert"]


@dataclass(frozen=True)
class GridConfig(Config):
    """The multiresolution hash grid (Mueller et al. 2022)."""

    levels: Annotated[int, Range(1, 32)] = 6  # number of levels
    coarsest: Annotated[int, Range(1, 4096)] = 12  # cells along each axis of the coarsest level
    finest: Annotated[int, Range(1, 65536)] = 96  # cells along each axis of the finest level
    table: Annotated[int, Range(2, 2**24)] = 2**16  # largest number of entries per level, a power of two

    def check(self) -> None:
        ordered("coarsest", "finest", self)
        if self.table & (self.table - 1):
            raise ValueError(f"table must be a power of two, got {self.table}")

    def layout(self) -> GridLayout:
        """The layout as the kernels take it."""
        return GridLayout(levels=self.levels, coarsest=self.coarsest, finest=self.finest, table=self.table)


@dataclass(frozen=True)
class LambertConfig(Config):
    """Shading by a random point light (Poole et al. 2023, section 3.1), in SDI's official shares.

    The light of a view is along normalize(camera + spread N(0, I)); diffuse light is what ambient light leaves of one.
    """

    after: Natural = 1000  # initial optimization steps that render plain albedo
    albedo_share: Fraction = 0.7  # share of the later steps that render plain albedo
    textureless_share: Fraction = 0.75  # share of the shaded steps that render white albedo
    nearest: Positive = 0.8  # smallest distance of the light from the center, world units
    farthest: Positive = 1.5  # largest distance of the light from the center, world units
    spread: Deviation = 1.0  # standard deviation of the light's direction around the camera's, world units
    ambient_min: Fraction = 0.1  # smallest share of ambient light in a shaded step
    ambient_max: Fraction = 0.1  # largest share of ambient light in a shaded step

    def check(self) -> None:
        ordered("nearest", "farthest", self)
        ordered("ambient_min", "ambient_max", self)


@dataclass(frozen=True)
class NerfRegularizers(Config):
    """Loss weights over the run, relative to mean-reduced guidance; SDI's, with the paper's own convexity term."""

    orient: Ramp = constant(0.1)  # penalizes visible surfaces that face away from the camera
    sparsity: Ramp = Ramp(0.15, 0.0, 0.0, 0.3)  # penalizes opacity, and thereby fog
    opaque: Ramp = constant(0.1)  # favors opacities of 0 or 1
    z_variance: Ramp = constant(1.0)  # favors thin surfaces
    convexity: Ramp = Ramp(0.1, 0.0, 0.4, 0.4)  # penalizes hollow faces
    convexity_form: ConvexityForm = "clamped"  # the paper's form (clamped), its linear form, or the official code's


@dataclass(frozen=True)
class EnvironmentConfig(Config):
    """A learned background of training renders (SDI's official configuration)."""

    learned: bool = False  # learn the background of training renders instead of a fixed color
    lr: LearningRate = 1e-3  # learning rate of the environment
    random_share: Fraction = 0.0  # share of training renders with a random background color instead
