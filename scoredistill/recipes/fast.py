"""The preset `fast`: about half a minute for a NeRF on two CPU cores with the embedded priors."""

from __future__ import annotations

from dataclasses import replace

from scoredistill.config import Config
from scoredistill.methods.method import MethodConfig
from scoredistill.recipes.kinds import OwnMethod
from scoredistill.recipes.preset import Task, preset, toybox_image
from scoredistill.recipes.recipe import OutputConfig, Recipe, TrainingConfig
from scoredistill.scenes.image import ImageConfig
from scoredistill.scenes.nerf import NerfConfig, NerfRegularizers
from scoredistill.scenes.photo import PhotoLoss
from scoredistill.scenes.regularizers import Ramp, constant, scaled_by
from scoredistill.scenes.splats import DensifyConfig, RateDecay, SplatRegularizers, SplatsConfig
from scoredistill.views import OrbitConfig

UPDATES, SHARED = 300, 3
"""Updates of the scene in all, and by each gradient in 3D: half the cost; what it loses is in the study `savings`."""

# A fifth to a third of SDI's weights: at full weight a toy shrinks to a ball. Sparsity stays on: it clears fog.
# Opaqueness grows when the shape is there: low throughout it leaves translucent edges, high throughout it costs limbs.
NERF_LOSSES = NerfRegularizers(
    orient=constant(0.03),
    sparsity=Ramp(0.0, 0.03, 0.0, 0.3),
    opaque=Ramp(0.03, 0.2, 0.5, 1.0),
    z_variance=constant(0.2),
    convexity=Ramp(0.03, 0.0, 0.4, 0.4),
)
# Smaller learning rates leave the field behind the falling t, larger ones make it a fog.
NERF = NerfConfig(lr_grid=1.5e-2, lr_mlp=8e-3)

SPLAT_LOSSES = SplatRegularizers(
    sparsity=Ramp(0.0, 0.03, 0.0, 0.3),
    opaque=constant(0.03),
    z_variance=constant(0.2),
    convexity=Ramp(0.03, 0.0, 0.4, 0.4),
    needles=constant(0.01),
)
SPLATS = SplatsConfig(
    count=1500,
    radius=0.6,
    lr_position=5e-3,
    lr_color=2e-2,
    lr_opacity=5e-2,
    lr_spread=1e-2,
    lr_rotation=1e-2,
    decay=RateDecay(means=0.1, harmonics=0.5),
    densify=DensifyConfig(
        begin=40,
        until=240,
        every=20,
        threshold=0.0,  # gradients differ a thousandfold between methods and reductions: the share decides
        share=0.1,
        most=4000,
        split_above=0.03,
        reset_every=0,  # opacities of .01 take hundreds of steps to recover
        clones="shared",
    ),
)


@preset(joint=True)
def fast(task: Task) -> Recipe:
    """Settings tuned on the embedded priors, for CPUs. Memory budget with Stable Diffusion 2.1: 8 GB."""
    # A learner needs every evaluation, and an image has no renders to make again.
    updates = 1 if task.flat or task.method.needs_learner else SHARED
    return Recipe(
        prompt=task.prompt(loss=PhotoLoss(rgb=constant(5.0), mask=constant(1.0))),
        prior=task.prior_config(),
        scene=_scene(task),
        method=_method(task),
        views=OrbitConfig(),
        training=TrainingConfig(
            steps=UPDATES // updates,
            updates=updates,
            batch=max(4, task.needs.views),
            resolution=64,
            background=task.background,
            seed=task.seed,
            asset_seed=task.seed,
            save_every=25,
        ),
        output=OutputConfig(turntable_frames=60, turntable_resolution=128, preview_every=100 if task.flat else 40),
    )


def _scene(task: Task) -> Config:
    """The scene; the losses are weighted by the norm of the method's gradient, or they shrink the object to a ball."""
    pull = task.method.gradient_norm
    if isinstance(task.scene, NerfConfig):
        return replace(NERF, regularizers=scaled_by(NERF_LOSSES, pull))
    if isinstance(task.scene, SplatsConfig):
        return replace(SPLATS, regularizers=scaled_by(SPLAT_LOSSES, pull))
    return _image(task) if isinstance(task.scene, ImageConfig) else task.scene


def _image(task: Task) -> ImageConfig:
    """Images optimized as the method needs it: by Adam, or by plain gradient descent."""
    return task.image(lr=2e-2, **({} if task.needs.published else toybox_image(type(task.method))))


def _method(task: Task) -> MethodConfig:
    """Toybox's tuned settings, or the official ones, reduced as the losses of the scene expect."""
    kind = type(task.method)
    if isinstance(task.method, OwnMethod):
        return task.method
    if not task.needs.published:
        return kind.toybox(flat=task.flat)
    official = kind.official(picture=bool(task.picture))
    return replace(official, reduction="mean_over_latent") if hasattr(official, "reduction") else official
