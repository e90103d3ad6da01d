"""The embedded multi-view prior: four views jointly (the task of MVDream), 64x64 pixels; x is the image in [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Conditions, Needs, Prompt
from scoredistill.priors.camera_pose import camera_pose
from scoredistill.priors.toybox.prior import SIZE, WEIGHTS, TextFeatures, ToyboxPrior
from scoredistill.priors.toybox.unet_tasks import VIEWS, ViewsUNet
from scoredistill.views import MVDREAM_ORBIT


@dataclass(frozen=True)
class PosedCaption(TextFeatures):
    """An encoded caption and MVDream's camera pose for each of B views."""

    pose: Float[Tensor, "B 16"]


class PosedPrior(ToyboxPrior):
    """A Toybox prior whose network is conditioned on the camera pose of each view."""

    def output(
        self,
        net: nn.Module,
        x_t: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        condition: Any,
        view: Float[Tensor, "R E"] | None = None,
    ) -> Float[Tensor, "R 3 h w"]:
        """v of `net`, conditioned on the poses; a learner also conditions it on `view`."""
        pose = cast(Any, net).camera(condition.pose)
        return super().output(net, x_t, t, condition, pose if view is None else pose + view)


class ToyboxViewsPrior(PosedPrior):
    """A text-to-multi-view prior of Toybox: groups of four views 90 degrees apart, at one elevation."""

    views = VIEWS
    needs = Needs(views=VIEWS, orbit=MVDREAM_ORBIT)
    network = ViewsUNet
    weights = WEIGHTS.with_name("toybox-mv.safetensors")
    tool = "tools/train_toybox_mv.py"

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The conditions of `ToyboxPrior` with the pose of each view; without cameras, of four views evenly around."""
        conditions = super().conditions(prompt, cameras, count)
        if cameras is None:
            cameras = ring(VIEWS, SIZE)[torch.arange(count) % VIEWS]
        pose = camera_pose(cameras)
        return conditions.map(lambda text: PosedCaption(text.features, text.mask, pose.to(text.features)))
