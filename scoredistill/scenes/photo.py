"""A scene with an input picture: renders from the picture's camera are compared with it at every step.

The picture's losses are part of the scene's regularizer, so the optimization loop does not know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.config import Config
from scoredistill.contracts import Frame, HasOptimizer, Photo, Scene
from scoredistill.scenes.regularizers import Ramp, constant


@dataclass(frozen=True)
class PhotoLoss(Config):
    """Loss weights over the run for the view of the input picture, in the units of the scene's regularizers."""

    rgb: Ramp = constant(1.0)  # squared error of the colors
    mask: Ramp = constant(0.1)  # squared error of the opacity


class PhotoScene:
    """`scene` with the losses of a picture: its regularizer renders one more view (Liu et al. 2023, threestudio).

    L = rgb mean (I - I_0)^2 + mask mean (o - o_0)^2, I and o the render and its opacity from the photo's camera over
    the background, I_0 and o_0 the photo's. It has an optimizer of its own exactly where the scene has one.
    """

    def __init__(self, scene: Scene, photo: Photo, background: Float[Tensor, "3"], loss: PhotoLoss):
        self.scene, self.camera, self.background, self.weights = scene, photo.camera, background, loss
        size = (photo.camera.height, photo.camera.width)
        both = torch.cat([photo.over(background.cpu()), photo.opacity])[None].to(background)
        both = F.interpolate(both, size, mode="bilinear", antialias=True)
        self.rgb, self.opacity = both[:, :3], both[:, 3:]
        if isinstance(scene, HasOptimizer):
            self.optimizer = scene.optimizer

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
        """The weighted losses of the render from the picture's camera, at `progress` of the run."""
        rendered = self.scene.render(self.camera, self.background)
        rgb, mask = self.weights.rgb(progress), self.weights.mask(progress)
        return rgb * F.mse_loss(rendered.rgb, self.rgb) + mask * F.mse_loss(rendered.opacity, self.opacity)

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """The scene's."""
        self.scene.refine(step, optimizer, rng)

    def state_dict(self) -> dict[str, Any]:
        """The scene's; the picture is not part of it."""
        return self.scene.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """The scene's."""
        return self.scene.load_state_dict(state)
