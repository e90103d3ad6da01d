"""A scene of which there is a photo: what is rendered from the photo's camera has to look like it.

The loop knows nothing of this: the photo's losses are the scene's own, beside its regularizers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Frame, Photo, Scene
from scoredistill.scenes.regularizers import Ramp, constant


@dataclass(frozen=True)
class PhotoSettings:
    """Weights of the photo's losses over the run, in the units of the scene's regularizers."""

    rgb: Ramp = constant(1.0)
    mask: Ramp = constant(0.1)


class Photographed:
    """`scene`, drawn to a photo: its regularizer has one more view to render (Liu et al. 2023, threestudio's recipe).

    L = rgb mean (I - I_0)^2 + mask mean (o - o_0)^2, I and o the render and its opacity from the photo's camera over
    the background, I_0 and o_0 the photo's.
    """

    def __init__(self, scene: Scene, photo: Photo, background: Float[Tensor, "3"], settings: PhotoSettings):
        self.scene, self.camera, self.background, self.settings = scene, photo.camera, background, settings
        size = (photo.camera.height, photo.camera.width)
        both = torch.cat([photo.over(background.cpu()), photo.opacity])[None].to(background)
        both = F.interpolate(both, size, mode="bilinear", antialias=True)
        self.rgb, self.opacity = both[:, :3], both[:, 3:]

    def render(self, cameras: Cameras, background: Float[Tensor, "3"], rng: torch.Generator | None = None) -> Frame:
        """The scene itself."""
        return self.scene.render(cameras, background, rng)

    def param_groups(self) -> list[dict[str, Any]]:
        """The scene's."""
        return self.scene.param_groups()

    def regularizer(self, frame: Frame, cameras: Cameras, progress: float) -> Float[Tensor, ""]:
        """The scene's own losses and the photo's."""
        return self.scene.regularizer(frame, cameras, progress) + self.loss(progress)

    def loss(self, progress: float) -> Float[Tensor, ""]:
        """How far the render from the photo's camera is from the photo, at `progress` of the run."""
        seen = self.scene.render(self.camera, self.background)
        rgb, mask = self.settings.rgb(progress), self.settings.mask(progress)
        return rgb * F.mse_loss(seen.rgb, self.rgb) + mask * F.mse_loss(seen.opacity, self.opacity)

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """The scene's."""
        self.scene.refine(step, optimizer, rng)

    def state_dict(self) -> dict[str, Any]:
        """The scene's: the photo is no part of it."""
        return self.scene.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """The scene's."""
        return self.scene.load_state_dict(state)
