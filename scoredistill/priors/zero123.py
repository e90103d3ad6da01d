"""Zero-1-to-3 as a prior: what a photo shows from another view, told by the relative pose (Liu et al. 2023).

pose    T = [theta - theta_0, sin(phi - phi_0), cos(phi - phi_0), r - r_0]   [B 4]
theta   polar angle, from straight above; phi azimuth; r distance; 0 marks the photo's own view
tokens  CLIP's embedding of the photo and T, projected                       [B 1 D]
image   the mean latent of the photo, not scaled                             [B C h w]
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
from scoredistill.contracts import Conditions, Photo, Prompt
from scoredistill.priors.denoisers import Denoiser
from scoredistill.priors.hub import Checkpoint, find
from scoredistill.priors.latents import Latents, resized
from scoredistill.priors.network import Time, X, fast_dtype
from scoredistill.priors.parametrization import Prediction
from scoredistill.priors.published import PublishedPrior
from scoredistill.priors.scheduler import read_schedule
from scoredistill.priors.sighted import Sight, relative_pose
from scoredistill.priors.stable import space_of
from scoredistill.priors.text import Embedded
from scoredistill.schedule import NoiseSchedule

MOST = 32  # latents of a side, which stand for 256 pixels: some copies carry Stable Diffusion's own number on
FILL = 200 / 256  # of the picture's side that the object spans, as the official demo frames it
PROJECTIONS = {"clip_camera_projection": "proj", "cc_projection": "projection"}
"""Subfolders that published copies keep the projection in, and what its layer is called there."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pictures CLIP was trained on (Radford et al. 2021)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Look = Callable[[Float[Tensor, "1 3 H W"]], Float[Tensor, "1 D"]]
"""What CLIP sees in a photo, [0, 1] over white."""


@dataclass(frozen=True, kw_only=True)
class Shown(Embedded):
    """A photo and a pose relative to it, for each of B images; `tokens` is one, which holds both."""

    image: X


def _ask(net: Any, x_t: X, time: Time, condition: Shown, size: int) -> Tensor:
    return net(torch.cat([x_t, condition.image.to(x_t)], 1), time, condition.tokens, return_dict=False)[0]


DENOISER = Denoiser("unet", "time_embedding", _ask)  # type: ignore[arg-type] (it is asked of nothing else)


class Zero123Prior(PublishedPrior):
    """A prior of novel views of one photo, which it takes from the prompt; words say nothing to it.

    `look` is asked once for each photo. `above` is Stable Zero123's pose: instead of the distance, the photo's own
    polar angle.
    """

    space: Latents
    photo_fill = FILL

    def __init__(
        self,
        net: nn.Module,
        space: Latents,
        look: Look,
        projection: nn.Linear,
        levels: tuple[NoiseSchedule, Prediction],
        *,
        above: bool = False,
    ):
        super().__init__(net, DENOISER, space, levels)
        self.look, self.projection, self.above = look, projection, above
        self.sight = Sight(self._see)

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
        """The prior of an alias, a folder or org/name[@revision] that holds Zero-1-to-3 in its diffusers form.

        `above` is whether it is Stable Zero123, whose folder looks the same; by default whether its name says so.
        ValueError in one line where it cannot be had, or is another model.
        """
        device = torch.device(device)
        dtype = dtype or fast_dtype(device)
        checkpoint = find(name)
        part = projection_part(checkpoint)
        if part is None:
            raise ValueError(f"{checkpoint} is not Zero-1-to-3: it has none of the parts {', '.join(PROJECTIONS)}")
        tensors = checkpoint.weights(part)
        weight, bias = (tensors[f"{PROJECTIONS[part]}.{kind}"].to(device, dtype) for kind in ("weight", "bias"))
        projection = nn.Linear(weight.shape[1], weight.shape[0])
        projection.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        net: Any = checkpoint.network("unet", dtype).to(device)
        net.to(memory_format=torch.channels_last)
        space: Any = space_of(checkpoint, min(net.config.sample_size, MOST), device, dtype, size)
        levels = read_schedule(checkpoint.settings("scheduler", "scheduler_config.json"))
        stable = "stable" in str(checkpoint).lower() if above is None else above
        look = lambda rgb: clip_image(checkpoint, rgb.to(device), dtype)  # noqa: E731
        return cls(net, space, look, projection.requires_grad_(False), levels, above=stable)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The prompt's photo and `count` poses; without cameras the photo's own. Guidance leads away from zeros.

        ValueError where the prompt has no photo.
        """
        photo, (seen, latent) = self.sight(prompt)
        pose = relative_pose(photo.camera, cameras or photo.camera, above=self.above)
        pose = pose.expand(count, 4).to(seen)
        tokens = self.projection(torch.cat([seen.expand(count, -1), pose], -1))[:, None]
        shown = Shown(tokens=tokens, image=latent.expand(count, -1, -1, -1))
        nothing = Shown(tokens=torch.zeros_like(tokens), image=torch.zeros_like(shown.image))
        return Conditions(shown, nothing, nothing, shown)

    @torch.no_grad()
    def _see(self, photo: Photo) -> tuple[Tensor, Tensor]:
        """What CLIP sees in the photo over white, and its latent."""
        like = self.projection.weight
        rgb = resized(photo.over(torch.ones(3))[None], self.space.size).to(like.device)
        latent = self.space.encode(rgb) / self.space.scale + self.space.shift
        return self.look(rgb).to(like), latent.to(like)


def projection_part(checkpoint: Checkpoint) -> str | None:
    """The subfolder of the projection of CLIP's embedding and the pose; None where the pipeline has none."""
    return next((part for part in PROJECTIONS if checkpoint.has(part)), None)


@torch.no_grad()
def clip_image(checkpoint: Checkpoint, rgb: Float[Tensor, "B 3 H W"], dtype: torch.dtype) -> Float[Tensor, "B D"]:
    """CLIP's embedding of pictures in [0, 1], bicubically at its own size as in training; the encoder is let go."""
    network: Any = checkpoint.network("image_encoder", dtype).to(rgb.device)
    side = network.config.image_size
    rgb = F.interpolate(rgb, (side, side), mode="bicubic", align_corners=True)
    mean, std = (rgb.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return network(((rgb - mean) / std).to(dtype)).image_embeds
