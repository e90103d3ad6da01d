"""The presets `paper` and `low-vram`: the official configuration of each method, prior and scene."""

from __future__ import annotations

from dataclasses import replace

from scoredistill.config import Config
from scoredistill.methods.distillation import Reduction
from scoredistill.methods.method import MethodConfig, carried_to_toybox
from scoredistill.methods.mvdream import MVDream
from scoredistill.recipes.kinds import OwnMethod
from scoredistill.recipes.official import LIT, OF_SDI, OFFICIAL, Configuration, losses
from scoredistill.recipes.preset import Task, preset
from scoredistill.recipes.recipe import OutputConfig, Recipe, TrainingConfig
from scoredistill.scenes.image import ImageConfig
from scoredistill.scenes.nerf import NerfConfig
from scoredistill.scenes.photo import PhotoLoss
from scoredistill.scenes.regularizers import constant, scaled_by
from scoredistill.scenes.splats import DensifyConfig, RateDecay, SplatRegularizers, SplatsConfig
from scoredistill.views import ZERO123_ORBIT, OrbitConfig

GUIDANCE_WEIGHT = 0.1
"""Weight of the guidance in Zero-1-to-3's recipe, to which those of all other losses are relative."""
PHOTO_LOSS = PhotoLoss(rgb=constant(500 / GUIDANCE_WEIGHT), mask=constant(50 / GUIDANCE_WEIGHT))

EXTENT = 3.5
"""LucidDreamer's extent of a scene, to which its learning rate of positions and its sizes are relative."""
SPLAT_SCENE = SplatsConfig(
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

OF_SPLATS = Configuration(
    SPLAT_SCENE, SPLAT_VIEWS, TrainingConfig(steps=5000, batch=4, resolution=512), reduction="sum_over_batch"
)
OF_PICTURES = Configuration(
    replace(
        LIT,
        regularizers=losses(
            orient=constant(1 / GUIDANCE_WEIGHT),
            sparsity=constant(0.1 / GUIDANCE_WEIGHT),
            opaque=constant(0.1 / GUIDANCE_WEIGHT),
        ),
    ),
    ZERO123_ORBIT,
    TrainingConfig(steps=600, batch=4, resolution=128),
    reduction="sum_over_latent",
)


@preset(joint=False)
def paper(task: Task) -> Recipe:
    """The official configuration of each method.

    A method without one for the scene gets ISM's splats, or SDI's NeRF with losses that are weighted by the norm of the
    method's gradient. Multi-view priors get the configuration of MVDream, input pictures that of Zero-1-to-3 (which
    differs: one render resolution instead of three, no smoothness of normals, a range of times that spans both of
    theirs). Memory budget with Stable Diffusion 2.1 at 512x512: 24 GB, of which tensors take five and a half
    (benchmarks/memory.py).
    """
    configuration = _configuration(task)
    return Recipe(
        prompt=task.prompt(loss=PHOTO_LOSS),
        prior=task.prior_config(),
        scene=_scene(task, configuration.scene),
        method=_method(task, configuration.reduction),
        views=_views(task, configuration.views),
        training=_training(task, configuration.training),
        output=OutputConfig(
            turntable_frames=120, turntable_resolution=0, mesh_resolution=256, mesh_faces=20_000, texture=1024
        ),
    )


@preset(joint=False)
def low_vram(task: Task) -> Recipe:
    """`paper` rendered in smaller tiles: the same gradients, in less memory and a little more time.

    Memory budget with Stable Diffusion 2.1 at 512x512: 12 GB, of which tensors take about four (benchmarks/memory.py).
    """
    recipe = paper.recipe(task)
    if isinstance(recipe.scene, NerfConfig):
        return replace(recipe, scene=replace(recipe.scene, tile=2**13))
    return recipe


def _configuration(task: Task) -> Configuration:
    """The official configuration of a task: of splats, else of the kind of its prior, else of its method."""
    if isinstance(task.scene, SplatsConfig):
        return OF_SPLATS
    if task.needs.views > 1:
        return OFFICIAL[MVDream]
    if task.picture:
        return OF_PICTURES
    borrowed = scaled_by(LIT.regularizers, task.method.gradient_norm)
    return OFFICIAL.get(type(task.method), replace(OF_SDI, scene=replace(LIT, regularizers=borrowed)))


def _scene(task: Task, official: Config) -> Config:
    """The official scene of the kind asked for; published text models learn the environment around a NeRF."""
    if isinstance(task.scene, ImageConfig):
        return task.image(lr=5e-2)  # the notebook's .1 is for x in [-1, 1]
    if not isinstance(task.scene, NerfConfig | SplatsConfig):
        return task.scene
    if not isinstance(official, NerfConfig):
        return official
    learned = not task.draws_toys and not task.picture
    return replace(official, environment=replace(official.environment, learned=learned))


def _method(task: Task, reduction: Reduction) -> MethodConfig:
    """The official settings, times carried to Toybox's schedule, reduced as the losses of the scene expect."""
    if isinstance(task.method, OwnMethod):
        return task.method
    official = type(task.method).official(picture=bool(task.picture) and task.needs.published)
    method = official if task.needs.published else carried_to_toybox(official)
    return replace(method, reduction=reduction) if hasattr(method, "reduction") and not task.flat else method


def _views(task: Task, official: OrbitConfig) -> OrbitConfig:
    """The official cameras, those of the prior's own paper where it was trained on cameras."""
    own = task.needs.orbit if task.needs.views > 1 or task.picture else None
    return own or official


def _training(task: Task, official: TrainingConfig) -> TrainingConfig:
    loop = TrainingConfig(steps=1000, batch=1, resolution=64) if task.flat else official
    return replace(loop, background=task.background, seed=task.seed, asset_seed=task.seed, save_every=250)
