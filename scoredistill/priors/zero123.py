"""Zero-1-to-3 as a prior: what a photo shows from another view, told by the relative pose (Liu et al. 2023).

pose    T = [theta - theta_0, sin(phi - phi_0), cos(phi - phi_0), r - r_0]   [B 4]
theta   polar angle, from straight above; phi azimuth; r distance; 0 marks the photo's own view
tokens  CLIP's embedding of the photo and T, projected                       [B 1 D]
image   the mean latent of the photo, not scaled                             [B C h w]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Photo, Prompt
from scoredistill.priors.denoisers import ATTENTION, Denoiser, Time, X
from scoredistill.priors.hub import Checkpoint, find
from scoredistill.priors.latents import Latents, resized
from scoredistill.priors.lora import LoraLearner
from scoredistill.priors.parametrization import Prediction, eps_from
from scoredistill.priors.scheduler import read_schedule
from scoredistill.priors.stable import space_of
from scoredistill.priors.text import Embedded
from scoredistill.priors.toybox import fast_dtype
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


class Zero123Prior:
    """A prior of novel views of one photo, which it takes from the prompt; words say nothing to it.

    `look` is asked once for each photo. `above` is Stable Zero123's pose: instead of the distance, the photo's own
    polar angle. `calls` and `rows` count evaluations of the network.
    """

    views = 1
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
        self.net, self.space, self.look, self.projection = net, space, look, projection
        self.schedule: NoiseSchedule = levels[0]
        self.prediction: Prediction = levels[1]
        self.above = above
        self.embedding = DENOISER.width(net)
        self.calls = self.rows = 0
        self._seen: tuple[Photo, Tensor, Tensor] | None = None

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

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> X:
        """Pixels of any size to scaled latents: a sample of the posterior drawn from `rng`, without it the mean."""
        return self.space.encode(rgb, rng)

    def decode(self, x: X) -> Float[Tensor, "B 3 H W"]:
        """Scaled latents to pixels."""
        return self.space.decode(x)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The prompt's photo and `count` poses; without cameras the photo's own. Guidance leads away from zeros.

        ValueError where the prompt has no photo.
        """
        if prompt.photo is None:
            raise ValueError("this prior makes views of a picture and was given none: name one, as in --image toy.png")
        seen, latent = self._see(prompt.photo)
        pose = relative_pose(prompt.photo.camera, cameras or prompt.photo.camera, above=self.above)
        pose = pose.expand(count, 4).to(seen)
        tokens = self.projection(torch.cat([seen.expand(count, -1), pose], -1))[:, None]
        shown = Shown(tokens=tokens, image=latent.expand(count, -1, -1, -1))
        nothing = Shown(tokens=torch.zeros_like(tokens), image=torch.zeros_like(shown.image))
        return Conditions(shown, nothing, nothing, shown)

    def eps(self, x_t: X, t: Time, *conditions: Shown) -> tuple[Tensor, ...]:
        """Noise predictions for each condition, all rows in one pass of the network."""
        rows = len(conditions)
        self.calls, self.rows = self.calls + 1, self.rows + rows * len(x_t)
        output = self.output(self.net, x_t.repeat(rows, 1, 1, 1), t.repeat(rows), _stacked(conditions))
        return tuple(eps_from(self.prediction, part, x_t, t, self.schedule) for part in output.chunk(rows))

    def output(self, net: nn.Module, x_t: X, t: Time, condition: Shown, view: Float[Tensor, "B E"] | None = None) -> X:
        """What `net`, of the structure of the prior's own, predicts; a learner's shows it the `view` too."""
        time = (self.schedule.snap(t) * self.schedule.steps).round()
        return DENOISER(net, x_t, time, condition, self.space.size, view)

    def adapted(self, layer: str) -> bool:
        """A learner adapts the projections of every attention."""
        return layer.endswith(ATTENTION)

    def learner(self, *, rank: int = 4, lr: float = 1e-4, seed: int = 0) -> LoraLearner:
        """A second score that starts as this one, to be trained on renders (VSD, ESD); `seed` of its adapters."""
        from scoredistill.priors.diffusers_learner import peft_adapters

        return LoraLearner(self, rank=rank, lr=lr, seed=seed, grow=peft_adapters)

    @torch.no_grad()
    def _see(self, photo: Photo) -> tuple[Tensor, Tensor]:
        """What CLIP sees in the photo over white, and its latent."""
        if self._seen is None or self._seen[0] is not photo:
            like = self.projection.weight
            rgb = resized(photo.over(torch.ones(3))[None], self.space.size).to(like.device)
            latent = self.space.encode(rgb) / self.space.scale + self.space.shift
            self._seen = photo, self.look(rgb).to(like), latent.to(like)
        return self._seen[1:]


def relative_pose(photo: Cameras, cameras: Cameras, *, above: bool = False) -> Float[Tensor, "B 4"]:
    """T = [theta - theta_0, sin(phi - phi_0), cos(phi - phi_0), r - r_0] (Liu et al. 2023, official code).

    From nominal orbits in radians; theta - theta_0 is the photo's elevation less the view's. `above`: the last is
    theta_0 instead, as Stable Zero123 was trained.
    """
    turned = cameras.azimuth - photo.azimuth
    last = (math.pi / 2 - photo.elevation).expand_as(turned) if above else cameras.radius - photo.radius
    return torch.stack([photo.elevation - cameras.elevation, turned.sin(), turned.cos(), last], -1)


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


def _stacked(conditions: Sequence[Shown]) -> Shown:
    tokens, image = zip(*((each.tokens, each.image) for each in conditions), strict=True)
    return Shown(tokens=torch.cat(tokens), image=torch.cat(image))
