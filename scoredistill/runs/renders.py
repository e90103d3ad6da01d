"""The standard renders of a finished scene: four views, the turntable, the views that metrics evaluate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from scoredistill.camera import Cameras, orbit, ring
from scoredistill.contracts import Frame, HasDraft
from scoredistill.recipes.build import background_color
from scoredistill.recipes.recipe import Recipe

ELEVATION_DEG = 15.0  # of turntables and evaluations, as in the papers
TOP_DEG = 80.0  # straight down, "up" would have no direction in the picture
RESOLUTION = 128  # pixels of previews and evaluated views: finer than the judge's 64, for sharpness
LARGEST = 256  # pixels of a turntable whose resolution follows that of the training
CHUNK = 4  # views rendered at once, which bounds the memory
SAME_DB = 65.0  # PSNR of views above which a coarse draft replaces the scene: an error of a seventh of 1/255


def four_views(recipe: Recipe, scene: Any, resolution: int | None = None) -> Frame:
    """Front, side, back and top."""
    azimuths, elevations = [0.0, 90.0, 180.0, 0.0], [ELEVATION_DEG] * 3 + [TOP_DEG]
    return render_views(recipe, scene, azimuths, elevations, resolution or RESOLUTION)


@torch.no_grad()
def render_views(
    recipe: Recipe, scene: Any, azimuths_deg: list[float], elevations_deg: list[float], resolution: int
) -> Frame:
    """One view from each direction, at the middle distance of the training views."""
    azimuth, elevation = (torch.tensor(angles).deg2rad() for angles in (azimuths_deg, elevations_deg))
    radius, fov_deg = recipe.views.middle()
    constant = torch.ones(len(azimuth))
    cameras = orbit(azimuth, elevation, radius * constant, math.radians(fov_deg) * constant, resolution)
    return scene.render(cameras.to(recipe.prior.device), background_color(recipe))


def turntable(
    recipe: Recipe, scene: Any, frames: int, resolution: int, elevation_deg: float = ELEVATION_DEG
) -> Iterator[Frame]:
    """`frames` views evenly around the scene, rendered when they are requested."""
    cameras = ring_cameras(recipe, frames, resolution, elevation_deg)
    for begin in range(0, frames, CHUNK):
        with torch.no_grad():
            frame = scene.render(cameras[begin : begin + CHUNK], background_color(recipe))
        yield frame  # outside: two turntables that take turns would leave gradients off


def film(recipe: Recipe, draft: Any) -> Iterator[Frame]:
    """The frames of a run's turntable video, of the scene or its draft."""
    return turntable(recipe, draft, recipe.output.turntable_frames, _film_resolution(recipe))


def stand_ins(recipe: Recipe, scene: Any, views: Frame) -> tuple[Any, Any]:
    """What is filmed and what is measured in place of the scene, whose four views are `views`.

    A draft of one point for two pixels of the film stands for both if its four views are the same within SAME_DB, as
    those of fog are. Else a draft of one point for each pixel is filmed and the scene is measured. A scene that has no
    drafts is used itself.
    """
    coarse = _draft(recipe, scene, 2.0)
    if coarse is scene:
        return scene, scene
    error = float((four_views(recipe, coarse).rgb - views.rgb).square().mean())
    if error <= 10 ** (-SAME_DB / 10):
        return coarse, coarse
    return _draft(recipe, scene, 1.0), scene


def _draft(recipe: Recipe, scene: Any, pixels: float) -> Any:
    """The scene on a lattice whose points are so many pixels of the film apart, or itself where it has none."""
    if not isinstance(scene, HasDraft):
        return scene
    radius, fov_deg = recipe.views.middle()
    return scene.draft(2 * radius * math.tan(math.radians(fov_deg) / 2) * pixels / _film_resolution(recipe))


def _film_resolution(recipe: Recipe) -> int:
    output = recipe.output
    return output.turntable_resolution or min(max(2 * recipe.training.resolution, RESOLUTION), LARGEST)


def ring_cameras(recipe: Recipe, count: int, resolution: int, elevation_deg: float = ELEVATION_DEG) -> Cameras:
    """`count` cameras evenly around the scene, at the middle distance of the training views."""
    radius, fov_deg = recipe.views.middle()
    return ring(count, resolution, elevation_deg=elevation_deg, radius=radius, fov_deg=fov_deg).to(recipe.prior.device)
