"""The embedded priors of two more tasks: four views of a toy at once, and other views of a picture of a toy.

MVDream's and Zero-1-to-3's tasks at 64x64 pixels, with their conditions; x is the image in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Conditions, Photo, Prompt
from scoredistill.priors.mvdream import poses
from scoredistill.priors.sighted import Sight, relative_pose
from scoredistill.priors.toybox import SIZE, WEIGHTS, TextFeatures, ToyboxPrior
from scoredistill.priors.unet import UNet
from scoredistill.priors.unet_tasks import VIEWS, PoseUNet, ViewsUNet

BACKGROUND = (0.18, 0.55, 0.60)  # of all pictures that were learned from: toybox/render.py's


@dataclass(frozen=True)
class Posed(TextFeatures):
    """An encoded caption and MVDream's camera pose for each of B views."""

    pose: Float[Tensor, "B 16"]


class ToyboxViewsPrior(ToyboxPrior):
    """A text-to-multi-view prior of Toybox: groups of four views a quarter turn apart, at one elevation."""

    views = VIEWS
    network = ViewsUNet
    weights = WEIGHTS.with_name("toybox-mv.safetensors")
    tool = "tools/train_toybox_mv.py"

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The captions as `ToyboxPrior` encodes them, each with its view's pose; without cameras views all round."""
        conditions = super().conditions(prompt, cameras, count)
        if cameras is None:
            cameras = ring(VIEWS, SIZE)[torch.arange(count) % VIEWS]
        pose = poses(cameras)
        return conditions.each(lambda told: Posed(told.features, told.mask, pose.to(told.features)))

    def output(
        self,
        net: nn.Module,
        x_t: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        condition: Any,
        view: Float[Tensor, "B E"] | None = None,
    ) -> Float[Tensor, "B 3 h w"]:
        """v of a network like the prior's own, which is told the poses; a learner's shows it the `view` too."""
        return super().output(net, x_t, t, condition, _both(net, condition.pose, view))


@dataclass(frozen=True)
class Pictured(TextFeatures):
    """The tokens of a picture, the picture itself, and a pose relative to it, for each of B views."""

    picture: Float[Tensor, "B 3 h w"]
    pose: Float[Tensor, "B 4"]


class ToyboxPosePrior(ToyboxPrior):
    """A prior of other views of a toy's picture, told by Zero-1-to-3's relative pose; words say nothing to it."""

    network = PoseUNet
    weights = WEIGHTS.with_name("toybox-pose.safetensors")
    tool = "tools/train_toybox_pose.py"
    photo_fill = None  # toys were seen at the size that they have

    def __init__(self, net: UNet, device: torch.device | str = "cpu", dtype: torch.dtype | None = None):
        super().__init__(net, device, dtype)
        self.sight = Sight(self._picture)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The prompt's photo and `count` poses; without cameras the photo's own. Guidance leads away from zeros.

        ValueError where the prompt has no photo.
        """
        photo, picture = self.sight(prompt)
        pose = relative_pose(photo.camera, cameras or photo.camera).expand(count, 4)
        shown = self.shown(picture.expand(count, -1, -1, -1), pose.to(self.device))
        nothing = blank(shown)
        return Conditions(shown, nothing, nothing, shown)

    @torch.no_grad()
    def shown(self, picture: Float[Tensor, "B 3 h w"], pose: Float[Tensor, "B 4"]) -> Pictured:
        """Pictures in [-1, 1] as a condition."""
        features, mask = self.net.text(picture)
        return Pictured(features, mask, picture, pose)

    def output(
        self,
        net: nn.Module,
        x_t: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        condition: Any,
        view: Float[Tensor, "B E"] | None = None,
    ) -> Float[Tensor, "B 3 h w"]:
        """v of a network like the prior's own, which sees the picture; a learner's shows it the `view` too."""
        beside = torch.cat([x_t, condition.picture.to(x_t)], 1)
        return super().output(net, beside, t, condition, _both(net, condition.pose, view))

    def _picture(self, photo: Photo) -> Float[Tensor, "1 3 h w"]:
        return self.encode(photo.over(torch.tensor(BACKGROUND))[None].to(self.device))


def blank(condition: Pictured) -> Pictured:
    """The condition of nothing, as a tenth of the training had it: zeros for tokens, picture and pose."""
    zeros = {each.name: torch.zeros_like(getattr(condition, each.name)) for each in fields(condition)}
    return replace(condition, **zeros | {"mask": condition.mask})


def _both(net: Any, pose: Tensor, view: Tensor | None) -> Tensor:
    """What the pose adds to the embedding, and what a learner's camera adds."""
    told = net.camera(pose)
    return told if view is None else told + view
