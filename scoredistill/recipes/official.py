"""The official configurations: scene, losses, cameras and loop of each method's own code.

Steps of those codes are shares of their runs here. Everywhere: Adam with betas .9 and .99, also where a code has AdamW
(VSD, ESD, ASD, MVDream), Adan (Consistent3D), Adamax (SJC) or other betas (CSD, ASD).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scoredistill.config import Config
from scoredistill.methods.asd import ASD
from scoredistill.methods.cfd import CFD
from scoredistill.methods.consistent3d import Consistent3D
from scoredistill.methods.csd import CSD
from scoredistill.methods.distillation import Reduction
from scoredistill.methods.dsd import DSD
from scoredistill.methods.esd import ESD
from scoredistill.methods.hifa import HiFA
from scoredistill.methods.method import MethodConfig
from scoredistill.methods.mvdream import MVDream
from scoredistill.methods.nfsd import NFSD
from scoredistill.methods.sdi import SDI
from scoredistill.methods.sds import SDS
from scoredistill.methods.sjc import SJC
from scoredistill.methods.vsd import VSD
from scoredistill.recipes.recipe import TrainingConfig
from scoredistill.scenes.nerf import EnvironmentConfig, GridConfig, LambertConfig, NerfConfig, NerfRegularizers
from scoredistill.scenes.regularizers import Ramp, constant
from scoredistill.views import MVDREAM_ORBIT, OrbitConfig


@dataclass(frozen=True)
class Configuration:
    """Scene, cameras and loop, and the reduction of the gradient to which the scene's losses are relative."""

    scene: Config
    views: OrbitConfig
    training: TrainingConfig
    reduction: Reduction


def losses(**given: Ramp) -> NerfRegularizers:
    """The loss weights, zero for those that are not given."""
    names = ("orient", "sparsity", "opaque", "z_variance", "convexity")
    return NerfRegularizers(**(dict.fromkeys(names, constant(0.0)) | given))  # type: ignore[arg-type]


# SDI's convexity loss is the paper's (weight .1 for 40 % of the steps), not that of its code.
LIT = NerfConfig(
    bounds=2.0,
    grid=GridConfig(levels=16, coarsest=16, finest=4096, table=2**19),
    hidden=64,
    samples=512,
    tile=2**16,
    occupancy_decay=0.95,
    occupancy_threshold=0.01,
    least_alpha=0.01,
    normals="analytic",
    normals_at="samples",
    shading="lambert",
    lr_grid=1e-2,
    lr_mlp=1e-2,
)
RISING = Ramp(10.0, 1000.0, 0.0, 0.5)
"""Weight of the orientation loss in threestudio's dreamfusion-sd.yaml."""
OFTEN_LIT = LambertConfig(after=2001, albedo_share=0.25, textureless_share=0.5)
"""Light in threestudio's dreamfusion-sd.yaml: material defaults."""
HALF_RANDOM = EnvironmentConfig(random_share=0.5)

UNLIT = replace(
    LIT,
    bounds=1.0,
    normals="finite",  # shown only: nothing that is trained depends on them
    normals_at="surface",
    shading="albedo",
    first_levels=16,
    lr_mlp=1e-3,
    environment=HALF_RANDOM,
)
"""The scene of VSD's prolificdreamer.yaml and of those that follow it, without losses."""

JITTERED = OrbitConfig(
    radius_min=1.5,
    radius_max=2.0,
    fov_min_deg=40.0,
    fov_max_deg=70.0,
    position_jitter=0.1,
    target_jitter=0.2,
    up_jitter=0.02,
)
STEADY = replace(JITTERED, position_jitter=0.0, target_jitter=0.0, up_jitter=0.0)
NEAR = replace(STEADY, radius_min=1.0, radius_max=1.5)

LONG = TrainingConfig(steps=25_000, batch=1, resolution=512)
SHORT = replace(LONG, steps=10_000)

OF_SDI = Configuration(LIT, JITTERED, SHORT, "mean_over_latent")
SCENE_OF_SDS = replace(LIT, lambert=OFTEN_LIT, regularizers=losses(orient=RISING, sparsity=constant(1.0)))
OF_SDS = Configuration(SCENE_OF_SDS, JITTERED, replace(SHORT, resolution=64), "sum_over_latent")
OF_VSD = Configuration(
    replace(UNLIT, regularizers=losses(sparsity=constant(10.0), opaque=Ramp(0.0, 1000.0, 0.4, 0.4))),
    NEAR,
    replace(LONG, early_share=0.2, early_resolution=64),
    "sum_over_latent",
)

OFFICIAL: dict[type[MethodConfig], Configuration] = {
    SDI: OF_SDI,
    DSD: replace(
        OF_SDI,
        scene=replace(
            LIT,
            regularizers=replace(NerfRegularizers(), convexity=constant(1.0), convexity_form="linear"),
            environment=HALF_RANDOM,
        ),
        training=replace(SHORT, early_share=0.5, early_resolution=128),
        reduction="sum_over_latent",
    ),
    SDS: OF_SDS,
    NFSD: OF_SDS,
    SJC: replace(
        OF_SDS, scene=replace(SCENE_OF_SDS, bounds=1.0, shading="albedo"), views=replace(STEADY, radius_max=1.5)
    ),
    VSD: OF_VSD,
    ESD: OF_VSD,
    HiFA: Configuration(
        replace(UNLIT, regularizers=losses(sparsity=constant(1.0), z_variance=constant(100.0))),
        NEAR,
        LONG,
        "sum_over_latent",
    ),
    CSD: Configuration(
        replace(
            LIT,
            bounds=1.0,
            grid=replace(LIT.grid, levels=12, finest=512),
            first_levels=12,
            lambert=LambertConfig(5001, 0.5, 1.0, nearest=1.5, farthest=2.0, spread=0.1),
            lr_grid=1e-3,
            lr_mlp=1e-3,
            regularizers=losses(orient=Ramp(1.0, 100.0, 0.0, 0.5), sparsity=Ramp(10.0, 1.0, 0.0, 0.5)),
            environment=HALF_RANDOM,
        ),
        STEADY,
        replace(SHORT, resolution=64),
        "unit_norm",
    ),
    ASD: Configuration(
        replace(UNLIT, regularizers=losses(sparsity=constant(30.0), opaque=Ramp(0.0, 100.0, 0.4, 0.4))),
        replace(NEAR, evaluation_radius=1.2),
        replace(LONG, resolution=256, early_share=0.4, early_resolution=64),
        "sum_over_latent",
    ),
    Consistent3D: Configuration(
        replace(
            LIT,
            level_after=0,
            level_every=250,
            lambert=replace(OFTEN_LIT, after=1000, ambient_min=1.0, ambient_max=1.0),
            lr_grid=5e-2,
            lr_mlp=5e-3,
            regularizers=losses(orient=Ramp(10.0, 1000.0, 0.0, 2 / 3)),
            environment=replace(HALF_RANDOM, lr=5e-3),
        ),
        replace(JITTERED, evaluation_fov_deg=45.0),
        TrainingConfig(steps=3000, batch=8, resolution=64),
        "sum_over_latent",
    ),
    MVDream: Configuration(
        replace(
            LIT,
            bounds=1.0,
            first_levels=16,
            lambert=replace(OFTEN_LIT, after=5000, ambient_min=0.0, ambient_max=1.0),
            lr_mlp=1e-3,
            regularizers=losses(orient=RISING),
            environment=HALF_RANDOM,
        ),
        MVDREAM_ORBIT,
        TrainingConfig(steps=10_000, batch=4, resolution=256, early_share=0.5, early_batch=8, early_resolution=64),
        "sum_over_latent",
    ),
    CFD: Configuration(
        replace(
            UNLIT,
            grid=replace(LIT.grid, table=2**20),
            regularizers=losses(sparsity=constant(10.0), z_variance=constant(100.0)),
        ),
        OrbitConfig(0.0, 40.0, 1.3, 1.5, 40.0, 65.0),
        replace(LONG, early_share=0.1, early_resolution=128),
        "sum_over_latent",
    ),
}
"""By method; ISM's scene is one of splats. Methods without one get SDI's, at the weight of their gradient."""
