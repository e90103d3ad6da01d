"""The presets `paper` and `low-vram`: the official settings of each method, with SDI's scene and cameras."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scoredistill.config import Config
from scoredistill.methods.method import MethodConfig, carried_to_toybox
from scoredistill.methods.sds import SDS
from scoredistill.recipes.kinds import OwnMethod
from scoredistill.recipes.preset import Task
from scoredistill.recipes.recipe import OutputConfig, Recipe, TrainingConfig
from scoredistill.scenes.image import ImageConfig
from scoredistill.scenes.nerf import EnvironmentConfig, GridConfig, NerfConfig, NerfRegularizers
from scoredistill.scenes.photo import PhotoLoss
from scoredistill.scenes.regularizers import Ramp, constant
from scoredistill.scenes.splats import DensifyConfig, RateDecay, SplatRegularizers, SplatsConfig
from scoredistill.views import OrbitConfig

# METHODS 7.1 to 7.3 and 7.5; SDI's convexity as in the paper (5.7: weight .1 for 40 % of the steps).
NERF = NerfConfig(
    bounds=2.0,
    grid=GridConfig(levels=16, coarsest=16, finest=4096, table=2**19),
    hidden=64,
    samples=512,
    tile=2**16,
    normals="analytic",
    normals_at="samples",
    shading="lambert",
    lr_grid=1e-2,
    lr_mlp=1e-2,
)
NO_LOSSES: dict[str, Any] = dict.fromkeys(("opaque", "z_variance", "convexity"), constant(0.0))
SDS_LOSSES = NerfRegularizers(orient=Ramp(10.0, 1000.0, 0.0, 0.5), sparsity=constant(1.0), **NO_LOSSES)
MVDREAM_LOSSES = NerfRegularizers(orient=Ramp(10.0, 1000.0, 0.0, 0.5), sparsity=constant(0.0), **NO_LOSSES)

GUIDANCE_WEIGHT = 0.1
"""Weight of the guidance in Zero-1-to-3's recipe (METHODS 8.2), to which those of all other losses are relative."""
PICTURE_LOSSES = replace(
    NerfRegularizers(),
    orient=constant(1 / GUIDANCE_WEIGHT),
    sparsity=constant(0.1 / GUIDANCE_WEIGHT),
    opaque=constant(0.1 / GUIDANCE_WEIGHT),
    z_variance=constant(0.0),
    convexity=constant(0.0),
)
PHOTO_LOSS = PhotoLoss(rgb=constant(500 / GUIDANCE_WEIGHT), mask=constant(50 / GUIDANCE_WEIGHT))

EXTENT = 3.5
"""LucidDreamer's extent of a scene, to which its learning rate of positions and its sizes are relative."""
SPLATS = SplatsConfig(
    count=100_000,
    radius=0.5,
    lr_position=1.6e-4 * EXTENT,
    lr_color=5e-3,
    lr_opacity=5e-2,
    lr_spread=5e-3,
    lr_rotation=1e-3,
    decay=RateDecay(means=0.01, harmonics=0.6, log_stds=0.2, rotations=0.2),
    densify=DensifyConfig(
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

# METHODS 7.4.
NERF_VIEWS = OrbitConfig(
    radius_min=1.5,
    radius_max=2.0,
    fov_min_deg=40.0,
    fov_max_deg=70.0,
    position_jitter=0.1,
    target_jitter=0.2,
    up_jitter=0.02,
)
# LucidDreamer's first cameras: polar angles of 45 to 105 degrees, fields of view of .32 to .60 rad. Differs from its
# code: the ranges do not widen on the way (to radii of 3.5 and fields of view of .16 rad).
SPLAT_VIEWS = OrbitConfig(
    elevation_min_deg=-15.0,
    elevation_max_deg=45.0,
    radius_min=5.2,
    radius_max=5.5,
    fov_min_deg=18.3,
    fov_max_deg=34.4,
    position_jitter=0.05,
    target_jitter=0.05,
    up_jitter=0.01,
)


def paper(
    text: str = "",
    *,
    method: str = "sdi",
    scene: str = "nerf",
    prior: str = "auto",
    picture: str = "",
    device: str = "auto",
    seed: int = 0,
) -> Recipe:
    """The official settings of each method (METHODS 4 to 6) with SDI's scene (METHODS 7); arguments as `fast`.

    Multi-view priors get MVDream's recipe (METHODS 8.1), pictures Zero-1-to-3's (8.2; differs: one render resolution
    instead of three, no smoothness of normals, a time window that spans both of theirs). Budget with Stable Diffusion
    2.1 at 512x512: 24 GB, of which tensors fill five and a half (benchmarks/memory.py).
    """
    task = Task.of(text, method, scene, prior, picture, device, seed, joint=False)
    return Recipe(
        prompt=task.prompt(loss=PHOTO_LOSS),
        prior=task.prior_config(),
        scene=_scene(task),
        method=_method(task),
        views=_views(task),
        training=_training(task),
        output=OutputConfig(
            turntable_frames=120, turntable_resolution=0, mesh_resolution=256, mesh_faces=20_000, texture=1024
        ),
    )


def low_vram(
    text: str = "",
    *,
    method: str = "sdi",
    scene: str = "nerf",
    prior: str = "auto",
    picture: str = "",
    device: str = "auto",
    seed: int = 0,
) -> Recipe:
    """`paper` rendered in smaller tiles: the same gradients, in less memory and a little more time.

    Budget with Stable Diffusion 2.1 at 512x512: 12 GB, of which tensors fill about four (benchmarks/memory.py).
    """
    recipe = paper(text, method=method, scene=scene, prior=prior, picture=picture, device=device, seed=seed)
    if isinstance(recipe.scene, NerfConfig):
        return replace(recipe, scene=replace(recipe.scene, tile=2**13))
    return recipe


def _scene(task: Task) -> Config:
    """SDI's NeRF, ISM's splats, images; published text models learn the environment around a NeRF."""
    if isinstance(task.scene, SplatsConfig):
        return SPLATS
    if isinstance(task.scene, ImageConfig):
        return task.image(lr=5e-2)  # the notebook's .1 is for x in [-1, 1]
    if not isinstance(task.scene, NerfConfig):
        return task.scene
    joint, losses = task.needs.views > 1, SDS_LOSSES if isinstance(task.method, SDS) else NerfRegularizers()
    if task.picture:
        losses = PICTURE_LOSSES
    environment = EnvironmentConfig(
        learned=task.needs.published and not task.picture, random_share=task.method.random_background
    )
    scene = replace(NERF, regularizers=MVDREAM_LOSSES if joint else losses, environment=environment)
    return replace(scene, lr_mlp=1e-3) if joint else scene


def _method(task: Task) -> MethodConfig:
    """The official settings, times carried to Toybox's schedule; the recipes of METHODS 8 sum over the latent."""
    if isinstance(task.method, OwnMethod):
        return task.method
    official = type(task.method).official(picture=bool(task.picture) and task.needs.published)
    method = official if task.needs.published else carried_to_toybox(official)
    summed = (task.needs.views > 1 or task.picture) and hasattr(method, "reduction")
    return replace(method, reduction="sum_over_latent") if summed else method


def _views(task: Task) -> OrbitConfig:
    if task.needs.orbit is not None and (task.needs.views > 1 or task.picture):
        return task.needs.orbit
    return SPLAT_VIEWS if isinstance(task.scene, SplatsConfig) else NERF_VIEWS


def _training(task: Task) -> TrainingConfig:
    if task.flat:
        steps, batch, resolution = 1000, 1, 64
    elif isinstance(task.scene, SplatsConfig):
        steps, batch, resolution = 5000, 4, 512
    elif task.needs.views > 1:
        steps, batch, resolution = 10_000, task.needs.views, 256
    elif task.picture:
        steps, batch, resolution = 600, 4, 128
    else:
        steps, batch, resolution = 10_000, 1, 64 if isinstance(task.method, SDS) else 512
    background = "toybox" if not task.needs.published else "white" if task.picture else "gray"
    return TrainingConfig(steps, batch, resolution, background, task.seed, task.seed, save_every=250)
