"""MVDream as a prior: four views of an object denoised jointly, conditioned on their cameras (Shi et al. 2024).

pose   camera-to-world matrix in MVDream's axes, translation of unit length, flattened by rows   [B 16]
B      a multiple of four: groups of four views 90 degrees apart, at one elevation
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Conditions, Needs, Prompt
from scoredistill.priors.camera_pose import camera_pose
from scoredistill.priors.diffusers.checks import check_channels, text_width, training_size
from scoredistill.priors.diffusers.denoisers import Denoiser
from scoredistill.priors.diffusers.hub import find
from scoredistill.priors.diffusers.prior import DiffusersPrior, space_of
from scoredistill.priors.diffusers.scheduler import schedule_of
from scoredistill.priors.diffusers.text import Embedded, Texts
from scoredistill.priors.diffusers.text_encoders import encoder
from scoredistill.priors.diffusers.view_prompting import ViewAngles, ViewPrompting
from scoredistill.priors.mvdream import unet
from scoredistill.priors.network import Time, X, fast_dtype
from scoredistill.views import MVDREAM_ORBIT

VIEWS = 4


def _evaluate(net: nn.Module, x_t: X, time: Time, condition: Embedded, size: int) -> Tensor:
    return net(x_t, time, condition.tokens, class_labels=condition.pooled, return_dict=False)[0]


DENOISER = Denoiser("unet", "time_embedding", _evaluate)


class MVDreamPrior(DiffusersPrior):
    """A text-to-multi-view prior; the unconditional prediction is conditioned on the cameras as well."""

    views = VIEWS
    needs = Needs(views=VIEWS, published=True, view_prompting=True, orbit=MVDREAM_ORBIT)

    @classmethod
    def load(
        cls,
        name: str = "mvdream",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        size: int | None = None,
        view_prompting: ViewPrompting = "none",
        view_angles: ViewAngles | None = None,
        lora: Sequence[str] = (),
    ) -> MVDreamPrior:
        """The prior of an alias, a folder or org/name[@revision] that holds MVDream in the layout of diffusers.

        As in the official code, the text names no view unless `view_prompting` says so.
        ValueError in one line if it is not available or is another model, and for LoRA files, which are not supported.
        """
        if lora:
            raise ValueError(f"{name} is MVDream, which takes no LoRA files")
        device = torch.device(device)
        dtype = dtype or fast_dtype(device)
        checkpoint = find(name)
        if checkpoint.kind("unet") != unet.KIND:
            raise ValueError(f"{checkpoint} is not MVDream: its unet is a {checkpoint.kind('unet')}")
        check_channels(checkpoint, "unet")
        net: Any = unet.load(checkpoint, dtype, VIEWS).to(device)
        net.to(memory_format=torch.channels_last)
        space = space_of(checkpoint, training_size(checkpoint, "unet", "image_size"), device, dtype, size)
        levels = schedule_of(checkpoint)
        texts = Texts(lambda: encoder(checkpoint, device, dtype, width=text_width(checkpoint, "unet")))
        return cls(
            net,
            DENOISER,
            space,
            texts,
            levels,
            view_prompting=view_prompting,
            view_angles=view_angles,
        )

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The encoded texts with the pose of each view; without cameras, of four views evenly around the object."""
        conditions = super().conditions(prompt, cameras, count)
        if cameras is None:
            cameras = ring(VIEWS, self.space.size)[torch.arange(count) % VIEWS]
        pose = camera_pose(cameras)
        return conditions.map(lambda text: Embedded(text.tokens, pose.to(text.tokens)))
