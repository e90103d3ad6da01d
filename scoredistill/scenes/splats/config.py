"""Hyperparameters of Gaussian splats."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from scoredistill.config import Config, Count, Fraction, Natural, NonNegative, Positive, Range, ordered
from scoredistill.scenes.regularizers import Ramp, constant

if TYPE_CHECKING:
    from scoredistill.scenes.splats.splats import Splats

Opacity = Annotated[float, Range(1e-4, 0.9999)]


@dataclass(frozen=True)
class SplatRegularizers(Config):
    """Loss weights over the run, relative to mean-reduced guidance."""

    sparsity: Ramp = constant(0.0)  # little matter, no fog
    opaque: Ramp = constant(0.0)  # opacity is 0 or 1
    z_variance: Ramp = constant(0.0)  # thin surfaces
    convexity: Ramp = constant(0.0)  # no hollow faces
    variation: Ramp = constant(0.0)  # total variation of color and depth
    spread: Ramp = constant(0.0)  # mean standard deviation of the splats
    needles: Ramp = constant(0.0)  # no long thin splats


@dataclass(frozen=True)
class RateDecay(Config):
    """Share of each learning rate that is left at the end of the run; it falls exponentially."""

    means: Positive = 0.01  # of the positions
    harmonics: Positive = 1.0  # of the colors of degree 0
    directional: Positive = 1.0  # of the view-dependent colors
    opacity_logits: Positive = 1.0  # of the opacities
    log_stds: Positive = 1.0  # of the standard deviations
    rotations: Positive = 1.0  # of the rotations


@dataclass(frozen=True)
class DensifyConfig(Config):
    """When splats are cloned, split and pruned; the defaults are Kerbl et al.'s, for a scene of extent 1.

    Differs from their code: no limit to the width on the screen, which it sets to zero before it reads it.
    """

    begin: Natural = 500  # first optimization step of densification
    until: Natural = 15_000  # last optimization step of densification
    every: Count = 100  # optimization steps between densifications
    threshold: NonNegative = 2e-4  # mean norm of the screen-space gradient (half sides) above which a splat multiplies
    share: Fraction = 1.0  # share of the splats that multiply at a time, at most: those with the largest gradients
    most: Count = 1_000_000  # number of splats, at most
    split_above: NonNegative = 0.01  # largest standard deviation above which a splat is split, below it is cloned
    prune_above: NonNegative = 0.1  # largest standard deviation above which a splat is pruned after an opacity reset
    faint: Fraction = 0.005  # opacity below which a splat is pruned
    reset_every: Natural = 3000  # optimization steps between opacity resets; 0: never
    reset_to: Opacity = 0.01  # opacity after a reset, at most
    clones: Literal["shared", "copied"] = "copied"  # a clone shares its original's opacity, or both have it

    def check(self) -> None:
        ordered("begin", "until", self)


@dataclass(frozen=True)
class SplatsConfig(Config):
    """Hyperparameters of Gaussian splats; the learning rates are Kerbl et al.'s, for a scene of extent 1."""

    start: str = "ball"  # initial splats: ball, a mesh file, or the folder of a run with a mesh
    bounds: Annotated[float, Range(0.1, 100)] = 1.0  # meshes are extracted from the cube [-bounds, bounds]^3
    count: Annotated[int, Range(4, 10_000_000)] = 2000  # initial number of splats
    radius: Positive = 0.5  # radius of the initial ball, world units
    opacity: Opacity = 0.1  # initial opacity
    degree: Annotated[int, Range(0, 3)] = 0  # degree of the spherical harmonics
    degree_every: Count = 1000  # optimization steps after which one more degree is active
    lr_position: Positive = 1.6e-4  # learning rate of the positions
    lr_color: Positive = 2.5e-3  # learning rate of the colors of degree 0; a twentieth for the others
    lr_opacity: Positive = 5e-2  # learning rate of the opacity logits
    lr_spread: Positive = 5e-3  # learning rate of the logarithms of the standard deviations
    lr_rotation: Positive = 1e-3  # learning rate of the rotations
    decay: RateDecay = field(default_factory=RateDecay)  # decay of the learning rates
    densify: DensifyConfig = field(default_factory=DensifyConfig)  # cloning, splitting and pruning
    regularizers: SplatRegularizers = field(default_factory=SplatRegularizers)  # loss weights

    def build(self, *, rng: torch.Generator, steps: int, resolution: int) -> Splats:
        """The scene before the first step; ValueError for a start without a mesh."""
        from scoredistill.scenes.splats.splats import Splats
        from scoredistill.scenes.splats.start import ball, on_mesh

        if self.start == "ball":
            return Splats(self, ball(self.count, self.radius, self.opacity, self.degree, rng), steps)
        path = Path(self.start)
        mesh = path / "mesh.glb" if path.is_dir() else path
        return Splats(self, on_mesh(mesh, self.count, self.opacity, self.degree, rng), steps)
