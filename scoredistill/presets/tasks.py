"""What a task other than text-to-3D with one view at a time changes in a preset: several views at once, or a photo.

METHODS 8.1 and 8.2; weights are relative to guidance that is reduced as the preset reduces it.
"""

from __future__ import annotations

from dataclasses import replace

from scoredistill.presets import Preset
from scoredistill.presets.methods import Settings
from scoredistill.scenes.photographed import PhotoSettings
from scoredistill.scenes.regularizers import Ramp, constant
from scoredistill.views import RandomOrbit

JOINT = ("mvdream", "toybox-mv")
"""Priors that are known by name to denoise several views jointly."""
VIEWS = 4  # that a prior of several views denoises jointly
MVDREAM_VIEWS = RandomOrbit(elevation_deg=(0.0, 30.0), fov_deg=(15.0, 60.0), extent=(0.8, 1.0))
ZERO123_VIEWS = RandomOrbit(elevation_deg=(-10.0, 80.0), radius=(3.8, 3.8), fov_deg=(20.0, 20.0))
ZERO123_WEIGHT = 0.1  # of the guidance, to which the official weights of all other losses are relative

SUMMED: Settings = {"reduction": "sum_over_latent"}  # what the official weights of both recipes are relative to

_ZERO123: Settings = {"scale": 3.0, "t_min": 0.2, "t_max": 0.85}
PHOTO: dict[str, Settings] = {
    "sds": _ZERO123,
    "sdi": _ZERO123 | {"inversion_scale": -3.0},
    "dsd": _ZERO123 | {"ode_scale": 3.0},
}
"""Methods on Zero-1-to-3: its guidance scale, and its range of times at the end of the run's first third.

Differs from the official code: the window does not narrow from [.4, .85] to [.2, .5] but is what both span, which DSD
and SDI fall through. DSD: the same rule with the photo and the pose in place of the text (METHODS 6.4).
"""


def joint(preset: Preset, name: str) -> Preset:
    """The preset for a prior of several views: whole groups of cameras without jitter, whole groups of views a step."""
    still = {"position_jitter": 0.0, "target_jitter": 0.0, "up_jitter": 0.0}
    scene, nerf = preset.scene, preset.nerf
    if "batch" in scene:
        scene = scene | {"batch": max(scene["batch"], VIEWS)}
    if name == "fast":
        return replace(preset, scene=scene, views=replace(preset.views, group=VIEWS, **still))
    losses = replace(
        nerf.regularizers,
        orient=Ramp(10.0, 1000.0, 0.0, 0.5),
        sparsity=constant(0.0),
        opaque=constant(0.0),
        z_variance=constant(0.0),
        convexity=constant(0.0),
    )
    if "lr_mlp" in scene:
        scene = scene | {"size": 256, "lr_grid": 1e-2, "lr_mlp": 1e-3}
    views = replace(MVDREAM_VIEWS, group=VIEWS)
    method = preset.method | SUMMED
    return replace(preset, scene=scene, method=method, nerf=replace(nerf, regularizers=losses), views=views)


def photographed(preset: Preset, name: str) -> Preset:
    """The preset for a run that starts from a photo: its losses, and cameras that see the object as large as it does.

    Differs from the official recipe: one size of render instead of three, no smoothness of normals.
    """
    if name == "fast":
        return replace(preset, photo=PhotoSettings(rgb=constant(5.0), mask=constant(1.0)))
    losses = replace(
        preset.nerf.regularizers,
        orient=constant(1 / ZERO123_WEIGHT),
        sparsity=constant(0.1 / ZERO123_WEIGHT),
        opaque=constant(0.1 / ZERO123_WEIGHT),
        z_variance=constant(0.0),
        convexity=constant(0.0),
    )
    photo = PhotoSettings(rgb=constant(500 / ZERO123_WEIGHT), mask=constant(50 / ZERO123_WEIGHT))
    scene = preset.scene | ({"steps": 600, "batch": 4, "size": 128} if "lr_mlp" in preset.scene else {})
    nerf, method = replace(preset.nerf, regularizers=losses), preset.method | SUMMED
    return replace(preset, scene=scene, method=method, nerf=nerf, photo=photo, views=ZERO123_VIEWS)
