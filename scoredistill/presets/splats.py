"""What the presets say of splats: `FAST` is tuned on the embedded prior, `PAPER` is ISM's recipe (LucidDreamer)."""

from __future__ import annotations

from typing import Any

from scoredistill.scenes.densify import DensifySettings
from scoredistill.scenes.regularizers import Ramp, constant
from scoredistill.scenes.splats import SplatRegularizers, SplatSettings
from scoredistill.views import RandomOrbit

EXTENT = 3.5
"""LucidDreamer's extent of a scene: what its learning rate of positions and its sizes are relative to."""

FAST_RUN: dict[str, Any] = {
    "start": "ball",
    "steps": 300,
    "batch": 4,
    "size": 64,
    "count": 1500,
    "lr_position": 5e-3,
    "lr_color": 2e-2,
    "lr_opacity": 5e-2,
    "lr_spread": 1e-2,
    "lr_rotation": 1e-2,
}

FAST = SplatSettings(
    radius=0.6,
    left={"means": 0.1, "harmonics": 0.5},
    densify=DensifySettings(
        begin=40,
        until=240,
        every=20,
        threshold=0.0,  # gradients differ a thousandfold between methods and reductions: the share decides
        share=0.1,
        most=4000,
        split_above=0.03,
        reset_every=0,  # what is as faint as .01 takes hundreds of steps to come back
        clones="shared",
    ),
    regularizers=SplatRegularizers(
        sparsity=Ramp(0.0, 0.03, 0.0, 0.3),
        opaque=constant(0.03),
        z_variance=constant(0.2),
        convexity=Ramp(0.03, 0.0, 0.4, 0.4),
        needles=constant(0.01),
    ),
)

PAPER_RUN: dict[str, Any] = {
    "start": "ball",
    "steps": 5000,
    "batch": 4,
    "size": 512,
    "count": 100_000,
    "lr_position": 1.6e-4 * EXTENT,
    "lr_color": 5e-3,
    "lr_opacity": 5e-2,
    "lr_spread": 5e-3,
    "lr_rotation": 1e-3,
}

PAPER = SplatSettings(
    radius=0.5,
    left={"means": 0.01, "harmonics": 0.6, "log_stds": 0.2, "rotations": 0.2},
    densify=DensifySettings(
        begin=100,
        until=3000,
        every=100,
        threshold=7.5e-4,
        split_above=0.003 * EXTENT,
        prune_above=0.1 * EXTENT,
        reset_every=300,
    ),
    regularizers=SplatRegularizers(variation=constant(1.0), spread=constant(1.0)),
)

PAPER_VIEWS = RandomOrbit(
    elevation_deg=(-15.0, 45.0),
    radius=(5.2, 5.5),
    fov_deg=(18.3, 34.4),
    position_jitter=0.05,
    target_jitter=0.05,
    up_jitter=0.01,
)
"""LucidDreamer's first cameras: polar angles of 45 to 105 degrees, a view of .32 to .60 rad.

Differs from its code: the ranges do not widen on the way (to radii of 3.5 and views of .16 rad).
"""
