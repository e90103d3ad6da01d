"""Zero-1-to-3 as a prior: other views of a picture, conditioned on the relative pose (Liu et al. 2023).

pose    T = [theta - theta_0, sin(phi - phi_0), cos(phi - phi_0), r - r_0]   [B 4]
theta   polar angle from the zenith; phi azimuth; r distance; index 0: the camera of the picture
tokens  projection of the CLIP embedding of the picture and T                 [B 1 D]
image   mean latent of the picture, not scaled                                [B C h w]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Needs, Photo, Prompt
from scoredistill.priors.diffusers.checkpoint import Checkpoint
from scoredistill.priors.diffusers.checks import check_channels, latent_channels, training_size
from scoredistill.priors.diffusers.denoisers import Denoiser
from scoredistill.priors.diffusers.hub import find
from scoredistill.priors.diffusers.latents import Latents, resized
from scoredistill.priors.diffusers.network import PublishedPrior
from scoredistill.priors.diffusers.prior import space_of
from scoredistill.priors.diffusers.scheduler import schedule_of
from scoredistill.priors.diffusers.text import Embedded
from scoredistill.priors.network import Time, X, fast_dtype
from scoredistill.priors.parametrization import Prediction
from scoredistill.priors.picture_cache import PictureCache
from scoredistill.priors.zero123.pose import relative_pose
from scoredistill.schedule import NoiseSchedule
from scoredistill.views import ZERO123_ORBIT

MAX_LATENTS = 32  # per side, for 256 pixels: the configuration of some copies still has Stable Diffusion's 64
FILL = 200 / 256  # share of the picture's side that the object spans, as in the official demo
PROJECTIONS = {"clip_camera_projection": "proj", "cc_projection": "projection"}
"""Subfolders of the projection in published copies, and the name of its layer there."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the training images of CLIP (Radford et al. 2021)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

ImageEncoder = Callable[[Float[Tensor, "1 3 H W"]], Float[Tensor, "1 D"]]
"""CLIP's embedding of a picture in [0, 1] over white."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedPicture(Embedded):
    """A picture and a pose relative to it, for each of B images; `tokens` is one token for both."""

    image: X


def _evaluate(net: Any, x_t: X, time: Time, condition: EmbeddedPicture, size: int) -> Tensor:
    return net(torch.cat([x_t, condition.image.to(x_t)], 1), time, condition.tokens, return_dict=False)[0]


DENOISER = Denoiser("unet", "time_embedding", _evaluate)  # type: ignore[arg-type] (its condition is always an EmbeddedPicture)


class Zero123Prior(PublishedPrior):
    """A prior of novel views of one picture, `prompt.photo`; it ignores the text prompt.

    `encode_image` is called once for each picture. `above` selects the pose of Stable Zero123: the polar angle of the
    picture instead of the relative distance.
    """

    space: Latents
    needs = Needs(published=True, picture=True, picture_fill=FILL, orbit=ZERO123_ORBIT)

    def __init__(
        self,
        net: nn.Module,
        space: Latents,
        encode_image: ImageEncoder,
        projection: nn.Linear,
        levels: tuple[NoiseSchedule, Prediction],
        *,
        above: bool = False,
    ):
        super().__init__(net, DENOISER, space, levels)
        self.encode_image, self.projection, self.above = encode_image, projection, above
        self.pictures = PictureCache(self._encode_picture)

    @classmethod
    def load(
        cls,
        name: str = "zero123",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        size: int | None = None,
        above: bool | None = None,
    ) -> Zero123Prior:
        """The prior of an alias, a folder or org/name[@revision] that holds Zero-1-to-3 in the layout of diffusers.

        `above`: whether it is Stable Zero123, whose folder has the same layout; by default recognized by "stable" in
        the name of the model, not of a folder around it. ValueError in one line if it is not available or is another
        model.
        """
        device = torch.device(device)
        dtype = dtype or fast_dtype(device)
        checkpoint = find(name)
        part = projection_part(checkpoint)
        if part is None:
            raise ValueError(f"{checkpoint} is not Zero-1-to-3: it has none of the parts {', '.join(PROJECTIONS)}")
        check_channels(checkpoint, "unet", extra=latent_channels(checkpoint))
        side = min(training_size(checkpoint, "unet"), MAX_LATENTS)
        projection = read_projection(checkpoint, part).to(device, dtype)
        net: Any = checkpoint.network("unet", dtype).to(device)
        net.to(memory_format=torch.channels_last)
        space: Any = space_of(checkpoint, side, device, dtype, size)
        levels = schedule_of(checkpoint)
        stable = "stable" in checkpoint.model.lower() if above is None else above
        encode_image = lambda rgb: clip_image(checkpoint, rgb.to(device), dtype)  # noqa: E731
        return cls(net, space, encode_image, projection.requires_grad_(False), levels, above=stable)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The prompt's picture and `count` poses; without cameras the pose of the picture. The null condition is zeros.

        ValueError if the prompt has no picture.
        """
        photo, (embedding, latent) = self.pictures(prompt)
        pose = relative_pose(photo.camera, cameras or photo.camera, above=self.above)
        pose = pose.expand(count, 4).to(embedding)
        tokens = self.projection(torch.cat([embedding.expand(count, -1), pose], -1))[:, None]
        picture = EmbeddedPicture(tokens=tokens, image=latent.expand(count, -1, -1, -1))
        empty = EmbeddedPicture(tokens=torch.zeros_like(tokens), image=torch.zeros_like(picture.image))
        return Conditions(picture, empty, empty, picture)

    @torch.no_grad()
    def _encode_picture(self, photo: Photo) -> tuple[Tensor, Tensor]:
        """CLIP's embedding of the picture over white, and its latent."""
        like = self.projection.weight
        rgb = resized(photo.over(torch.ones(3))[None], self.space.size).to(like.device)
        latent = self.space.encode(rgb) / self.space.scale + self.space.shift
        return self.encode_image(rgb).to(like), latent.to(like)


def read_projection(checkpoint: Checkpoint, part: str) -> nn.Linear:
    """The projection of the CLIP embedding and the pose; ValueError if its file holds none."""
    tensors = checkpoint.weights(part)
    weight, bias = (tensors.get(f"{PROJECTIONS[part]}.{kind}") for kind in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise ValueError(f"{checkpoint}: the weights of {part} are no linear layer {PROJECTIONS[part]!r}")
    projection = nn.Linear(weight.shape[1], weight.shape[0])
    projection.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return projection


def projection_part(checkpoint: Checkpoint) -> str | None:
    """The subfolder of the projection of the CLIP embedding and the pose; None if the pipeline has none."""
    return next((part for part in PROJECTIONS if checkpoint.has(part)), None)


@torch.no_grad()
def clip_image(checkpoint: Checkpoint, rgb: Float[Tensor, "B 3 H W"], dtype: torch.dtype) -> Float[Tensor, "B D"]:
    """CLIP's embedding of pictures in [0, 1], resized bicubically as in training; the encoder is freed."""
    network: Any = checkpoint.network("image_encoder", dtype).to(rgb.device)
    side = network.config.image_size
    rgb = F.interpolate(rgb, (side, side), mode="bicubic", align_corners=True)
    mean, std = (rgb.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return network(((rgb - mean) / std).to(dtype)).image_embeds
