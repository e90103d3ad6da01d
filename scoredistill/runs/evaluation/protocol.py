"""The views of a run that are measured, as an evaluation protocol renders them.

V views   H W pixels; rgb, opacity in [0, 1]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Frame, HasPixels
from scoredistill.recipes.build import background_color
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs import renders
from scoredistill.scenes.nerf.environment import Environment


@dataclass(frozen=True)
class Protocol:
    """How many views, evenly around from the front at elevation 15, and how they are rendered.

    The papers' views are those of their official code (threestudio): elevation 15, distance and field of view of its
    evaluations (SDI and DSD: 2.0 and 70 degrees), 512 pixels, before the learned background where there is one. Its 120
    azimuths count the first direction twice; these are even without the last.
    """

    views: int
    resolution: int | None = None  # pixels; None: that of previews
    official: bool = False  # the camera and background of the papers' code; else the middle of the training views

    @property
    def about(self) -> str:
        """The protocol in words."""
        camera = "the papers' camera and background" if self.official else "the middle of the training ranges"
        size = f"{self.resolution} pixels" if self.resolution else "preview resolution"
        return f"{self.views} views at {size}, {camera}"

    def cameras(self, recipe: Recipe, resolution: int | None = None) -> Cameras:
        """The cameras of the views of a run, by default in the protocol's own resolution."""
        radius, fov_deg = recipe.views.evaluation() if self.official else recipe.views.middle()
        pixels = resolution or self.resolution or renders.RESOLUTION
        return ring(self.views, pixels, elevation_deg=renders.ELEVATION_DEG, radius=radius, fov_deg=fov_deg)


PROTOCOLS = {
    "quick": Protocol(8),
    "sdi": Protocol(50, 512, official=True),  # "we test prompts with 50 views", SDI section 6.1
    "dsd": Protocol(10, 512, official=True),  # 100 renders of 10 shapes a prompt, DSD section 4.2
}
"""By name. Flat scenes have no views: their images are measured as they are."""


@dataclass(frozen=True)
class Views:
    """What is measured of a run."""

    rgb: Float[Tensor, "V 3 H W"]
    opacity: Float[Tensor, "V 1 H W"] | None = None  # None of a flat scene
    cameras: Cameras | None = None


@torch.no_grad()
def measured_views(recipe: Recipe, scene: Any, protocol: Protocol) -> Views:
    """The views of a scene on the CPU; the images of a flat scene."""
    if isinstance(scene, HasPixels):
        return Views(scene.pixels.detach().cpu())
    cameras = protocol.cameras(recipe).to(recipe.prior.device)
    parts = []
    for begin in range(0, protocol.views, renders.CHUNK):
        some = cameras[begin : begin + renders.CHUNK]
        frame = scene.render(some, background_color(recipe))
        rgb = _before_environment(scene, some, frame, background_color(recipe)) if protocol.official else frame.rgb
        parts.append((rgb.cpu(), frame.opacity.cpu()))
    rgb, opacity = (torch.cat(each) for each in zip(*parts, strict=True))
    return Views(rgb, opacity, cameras)


def _before_environment(
    scene: Any, cameras: Cameras, frame: Frame, background: Float[Tensor, "3"]
) -> Float[Tensor, "V 3 H W"]:
    """The frame with the scene's learned background, where it has one, in place of the background color."""
    environment = getattr(scene, "environment", None)
    if not isinstance(environment, Environment):
        return frame.rgb
    _, directions = cameras.rays()
    behind = environment.color(directions.reshape(-1, 3)).reshape(directions.shape).movedim(-1, 1)
    return frame.rgb + (1 - frame.opacity) * (behind - background[:, None, None])
