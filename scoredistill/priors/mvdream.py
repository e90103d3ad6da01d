"""MVDream as a prior: four views of an object denoised together, each told where its camera stands (Shi et al. 2023).

pose   camera-to-world matrix in MVDream's axes, its translation of length one, row by row   [B 16]
B      a multiple of four: groups of four views 90 degrees apart, at one elevation
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Condition, Conditions, Prompt
from scoredistill.priors import mvdream_unet
from scoredistill.priors.denoisers import Denoiser, Time, X
from scoredistill.priors.hub import find
from scoredistill.priors.prompt import Told, ViewWords
from scoredistill.priors.scheduler import read_schedule
from scoredistill.priors.stable import StablePrior, space_of
from scoredistill.priors.text import Embedded, Texts, encoder
from scoredistill.priors.toybox import fast_dtype

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
        posed: dict[int, Embedded] = {}  # one condition given twice stays one: methods compute it once

        def told(condition: Condition) -> Embedded:
            return posed.setdefault(id(condition), Embedded(condition.tokens, pose.to(condition.tokens)))

        perpendicular = tuple((told(view), weight) for view, weight in conditions.perpendicular)
        text, null, empty, plain = map(told, (conditions.text, conditions.null, conditions.empty, conditions.plain))
        return replace(conditions, text=text, null=null, empty=empty, plain=plain, perpendicular=perpendicular)

    def eps(self, x_t: X, t: Time, *conditions: Embedded) -> tuple[Tensor, ...]:
        """Noise predictions for each condition; ValueError unless the rows make whole groups of four views."""
        if len(x_t) % VIEWS:
            raise ValueError(f"MVDream denoises {VIEWS} views jointly, got {len(x_t)}: take a multiple of {VIEWS}")
        return super().eps(x_t, t, *conditions)


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
