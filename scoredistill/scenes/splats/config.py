"""Parts of the hyperparameters of Gaussian splats; `splats.SplatsConfig` is the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from scoredistill.config import Config, Count, Fraction, Natural, NonNegative, Range, ordered
from scoredistill.scenes.regularizers import Ramp, constant

Opacity = Annotated[float, Range(1e-4, 0.9999)]
Remaining = Annotated[float, Range(1e-9, 1)]


@dataclass(frozen=True)
class SplatRegularizers(Config):
    """Loss weights over the run, relative to mean-reduced guidance."""

    sparsity: Ramp = constant(0.0)  # penalizes opacity, and thereby fog
    opaque: Ramp = constant(0.0)  # favors opacities of 0 or 1
    z_variance: Ramp = constant(0.0)  # favors thin surfaces
    convexity: Ramp = constant(0.0)  # penalizes hollow faces
    variation: Ramp = constant(0.0)  # total variation of color and depth
    spread: Ramp = constant(0.0)  # mean standard deviation of the splats
    needles: Ramp = constant(0.0)  # penalizes long thin splats


@dataclass(frozen=True)
class RateDecay(Config):
    """Share of each learning rate that remains at the end of the run; the decay is exponential."""

    means: Remaining = 0.01  # of the positions
    harmonics: Remaining = 1.0  # of the colors of degree 0
    directional: Remaining = 1.0  # of the view-dependent colors
    opacity_logits: Remaining = 1.0  # of the opacities
    log_stds: Remaining = 1.0  # of the standard deviations
    rotations: Remaining = 1.0  # of the rotations


@dataclass(frozen=True)
class DensifyConfig(Config):
    """When splats are cloned, split and pruned; the defaults are Kerbl et al.'s, for a scene of extent 1.

    Differs from their code: no limit to the width on the screen, which it sets to zero before it reads it.
    """

    begin: Natural = 500  # first optimization step of densification
    until: Natural = 15_000  # last optimization step of densification
    every: Count = 100  # optimization steps between densifications
    threshold: NonNegative = 2e-4  # mean screen-space gradient norm above which a splat is cloned or split
    share: Fraction = 1.0  # largest share of splats that are cloned or split at a time, by gradient
    most: Count = 1_000_000  # largest number of splats
    split_above: NonNegative = 0.01  # split splats with a larger standard deviation, clone smaller ones
    prune_above: NonNegative = 0.1  # prune splats with a larger standard deviation, after an opacity reset
    faint: Fraction = 0.005  # opacity below which a splat is pruned
    reset_every: Natural = 3000  # optimization steps between opacity resets; 0: never
    reset_to: Opacity = 0.01  # largest opacity after a reset
    clones: Literal["shared", "copied"] = "copied"  # a clone and its original share the opacity, or both have it

    def check(self) -> None:
        ordered("begin", "until", self)
        ordered("faint", "reset_to", self)
