"""MVDream as a prior: four views of an object denoised together, each told where its camera stands (Shi et al. 2023).

pose   camera-to-world matrix in MVDream's axes, its translation of length one, row by row   [B 16]
B      a multiple of four: groups of four views 90 degrees apart, at one elevation
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Conditions, Prompt
from scoredistill.priors import mvdream_unet
from scoredistill.priors.denoisers import Denoiser
from scoredistill.priors.hub import find
from scoredistill.priors.network import Time, X, fast_dtype
from scoredistill.priors.prompt import Told, ViewWords
from scoredistill.priors.scheduler import read_schedule
from scoredistill.priors.stable import StablePrior, space_of
from scoredistill.priors.text import Embedded, Texts
from scoredistill.priors.text_encoders import encoder

VIEWS = 4
WORDS = ViewWords(front_deg=30.0, back_deg=30.0)  # the official configuration's
AXES = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
"""MVDream's x, y, z in ours: z up, and the front, azimuth 0, at +x; azimuth grows counter-clockwise in both."""


def _ask(net: torch.nn.Module, x_t: X, time: Time, condition: Embedded, size: int) -> Tensor:
    return net(x_t, time, condition.tokens, class_labels=condition.pooled, return_dict=False)[0]


DENOISER = Denoiser("unet", "time_embedding", _ask)


class MVDreamPrior(StablePrior):
    """A text-to-multi-view prior; all else as `StablePrior`, the text-free rows too are told their cameras."""

    views = VIEWS

    @classmethod
    def load(
        cls,
        name: str = "mvdream",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        size: int | None = None,
        told: Told = "words",
        words: ViewWords | None = None,
    ) -> MVDreamPrior:
        """The prior of an alias, a folder or org/name[@revision] that holds MVDream in its diffusers form.

        ValueError in one line where it cannot be had, or is another model.
        """
        device = torch.device(device)
        dtype = dtype or fast_dtype(device)
        checkpoint = find(name)
        if checkpoint.kind("unet") != mvdream_unet.KIND:
            raise ValueError(f"{checkpoint} is not MVDream: its unet is a {checkpoint.kind('unet')}")
        net: Any = mvdream_unet.load(checkpoint, dtype, VIEWS).to(device)
        net.to(memory_format=torch.channels_last)
        space = space_of(checkpoint, checkpoint.settings("unet")["image_size"], device, dtype, size)
        levels = read_schedule(checkpoint.settings("scheduler", "scheduler_config.json"))
        texts = Texts(lambda: encoder(checkpoint, device, dtype))
        return cls(net, DENOISER, space, texts, levels, told=told, words=words or WORDS)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The texts as `StablePrior` encodes them, each with its view's pose; without cameras views all round."""
        conditions = super().conditions(prompt, cameras, count)
        if cameras is None:
            cameras = ring(VIEWS, self.space.size)[torch.arange(count) % VIEWS]
        pose = poses(cameras)
        return conditions.each(lambda told: Embedded(told.tokens, pose.to(told.tokens)))


def poses(cameras: Cameras) -> Float[Tensor, "B 16"]:
    """c2w from camera axes right, up, backward to world axes front, side, up; |translation| = 1 (Shi et al. 2023).

    Differs from the official code (METHODS B15): the cameras themselves are left as they are.
    """
    axes = AXES.to(cameras.c2w)
    rotation = axes @ cameras.c2w[:, :3, :3] * cameras.c2w.new_tensor([1, -1, -1])  # from right, down, forward
    position = F.normalize(cameras.c2w[:, :3, 3] @ axes.T, dim=-1)
    pose = torch.eye(4).to(axes).repeat(len(cameras), 1, 1)
    pose[:, :3] = torch.cat([rotation, position[..., None]], -1)
    return pose.flatten(1)
