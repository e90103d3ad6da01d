"""The embedded prior of novel views of a picture (the task of Zero-1-to-3), 64x64 pixels; x is the image in [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Needs, Photo, Prompt
from scoredistill.priors.camera_pose import camera_pose
from scoredistill.priors.picture_cache import PictureCache
from scoredistill.priors.toybox.prior import WEIGHTS
from scoredistill.priors.toybox.unet import UNet
from scoredistill.priors.toybox.unet_tasks import PoseUNet
from scoredistill.priors.toybox.views import PosedCaption, PosedPrior
from scoredistill.toybox import captions
from scoredistill.toybox.render import BACKGROUND
from scoredistill.views import ZERO123_ORBIT

READ_AT = (0.5, 0.7, 0.85)  # diffusion times at which the predictions for different captions differ most
READ_ROWS = 60  # captions evaluated at a time


@dataclass(frozen=True)
class PicturedCaption(PosedCaption):
    """A caption, a pose, the features of a picture, and a mask of the rows that use them, for each of B views."""

    picture: Float[Tensor, "B T F"]
    use_picture: Tensor


class ToyboxPosePrior(PosedPrior):
    """A prior of novel views of a picture of a toy, conditioned on MVDream's camera poses of picture and view.

    The caption is inferred from the picture; the text prompt is ignored.
    """

    network = PoseUNet
    weights = WEIGHTS.with_name("toybox-pose.safetensors")
    tool = "tools/train_toybox_pose.py"
    needs = Needs(picture=True, orbit=ZERO123_ORBIT)

    def __init__(self, net: UNet, device: torch.device | str = "cpu", dtype: torch.dtype | None = None):
        super().__init__(net, device, dtype)
        self.pictures = PictureCache(self._encode_picture)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The prompt's picture and `count` poses; without cameras the pose of the picture.

        The null condition has no picture. ValueError if the prompt has no picture.
        """
        photo, (caption, picture) = self.pictures(prompt)
        pose = camera_pose(cameras or photo.camera).to(picture).expand(count, 16)
        text = self.pictured([caption] * count, pose, picture.expand(count, -1, -1))
        words = self.encode_text([""] * count)
        empty = PicturedCaption(words.features, words.mask, pose, text.picture, torch.zeros_like(text.use_picture))
        return Conditions(text, empty, empty, text)

    def pictured(
        self, texts: list[str], pose: Float[Tensor, "B 16"], picture: Float[Tensor, "B T F"]
    ) -> PicturedCaption:
        """Captions, poses and the features of a picture, as a condition."""
        words = self.encode_text(texts)
        use_picture = torch.ones(len(texts), dtype=torch.bool, device=picture.device)
        return PicturedCaption(words.features, words.mask, pose, picture, use_picture)

    def extra_inputs(self, condition: Any) -> dict[str, Tensor]:
        """The features of the picture, and the rows that use them."""
        return {"picture": condition.picture, "use_picture": condition.use_picture}

    @torch.no_grad()
    def infer_caption(self, x: Float[Tensor, "1 3 h w"], pose: Float[Tensor, "1 16"]) -> str:
        """The caption with the lowest denoising error on the picture (Li et al. 2023, diffusion classifiers)."""
        texts = [captions.phrase(captions.Description(*each)) for each in product(captions.KINDS, captions.COLORS)]
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
        features = self.net.encode_picture(
            x, *self.net.text(x.new_zeros(1, captions.CONTEXT, dtype=torch.long)), self.net.camera(pose)
        )
        errors = torch.zeros(len(texts), device=x.device)
        for t in READ_AT:
            x_t = self.schedule.diffuse(x, noise, torch.full((1,), t))
            for first in range(0, len(texts), READ_ROWS):
                part = texts[first : first + READ_ROWS]
                rows = len(part)
                condition = replace(
                    self.pictured(part, pose.expand(rows, -1), features.expand(rows, -1, -1)),
                    use_picture=torch.zeros(rows, dtype=torch.bool, device=x.device),
                )
                (eps,) = self.eps(x_t.expand(rows, -1, -1, -1), torch.full((rows,), t), condition)
                errors[first : first + rows] += (eps - noise).square().mean((1, 2, 3))
        return texts[int(errors.argmin())]

    @torch.no_grad()
    def _encode_picture(self, photo: Photo) -> tuple[str, Float[Tensor, "1 T F"]]:
        picture = self.encode(photo.over(torch.tensor(BACKGROUND))[None].to(self.device))
        pose = camera_pose(photo.camera).to(picture)
        caption = self.infer_caption(picture, pose)
        words = self.encode_text([caption])
        return caption, self.net.encode_picture(picture, words.features, words.mask, self.net.camera(pose))
