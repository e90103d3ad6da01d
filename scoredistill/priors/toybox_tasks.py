"""The embedded priors of two more tasks: four views of a toy at once, and other views of a picture of a toy.

MVDream's and Zero-1-to-3's tasks at 64x64 pixels, with their conditions; x is the image in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Conditions, Photo, Prompt
from scoredistill.priors.mvdream import poses
from scoredistill.priors.sighted import Sight
from scoredistill.priors.toybox import SIZE, WEIGHTS, TextFeatures, ToyboxPrior, network_of
from scoredistill.priors.unet import UNet
from scoredistill.priors.unet_tasks import VIEWS, PoseUNet, ViewsUNet
from scoredistill.toybox import captions

READ_AT = (0.5, 0.7, 0.85)  # times at which captions differ most
READ_ROWS = 60  # captions asked at a time
BACKGROUND = (0.18, 0.55, 0.60)  # of all pictures that were learned from: toybox/render.py's


@dataclass(frozen=True)
class Posed(TextFeatures):
    """An encoded caption and MVDream's camera pose for each of B views."""

    pose: Float[Tensor, "B 16"]


class PosedPrior(ToyboxPrior):
    """A prior of Toybox whose network is told each view's pose."""

    def output(
        self,
        net: nn.Module,
        x_t: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        condition: Any,
        view: Float[Tensor, "B E"] | None = None,
    ) -> Float[Tensor, "B 3 h w"]:
        """v of a network like the prior's own, which is told the poses; a learner's shows it the `view` too."""
        told = cast(Any, net).camera(condition.pose)
        return super().output(net, x_t, t, condition, told if view is None else told + view)


class ToyboxViewsPrior(PosedPrior):
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


@dataclass(frozen=True)
class Pictured(Posed):
    """A caption, a pose, what was seen of a picture, and whether it may be looked up, for each of B views."""

    seen: Float[Tensor, "B T F"]
    told: Tensor


class ToyboxPosePrior(PosedPrior):
    """A prior of other views of a toy's picture: Zero-1-to-3's task, told both cameras by MVDream's poses.

    Its words are those that it reads from the picture; the prompt only names the run.
    """

    network = PoseUNet
    weights = WEIGHTS.with_name("toybox-pose.safetensors")
    tool = "tools/train_toybox_pose.py"
    photo_fill = None  # toys were seen at the size that they have

    def __init__(self, net: UNet, device: torch.device | str = "cpu", dtype: torch.dtype | None = None):
        super().__init__(net, device, dtype)
        self.sight = Sight(self._look)

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The prompt's photo from `count` poses; without cameras from its own. Guidance leads away from no photo.

        ValueError where the prompt has no photo.
        """
        photo, (caption, seen) = self.sight(prompt)
        pose = poses(cameras or photo.camera).to(seen).expand(count, 16)
        shown = self.shown([caption] * count, pose, seen.expand(count, -1, -1))
        words = self.encode_text([""] * count)
        nothing = Pictured(words.features, words.mask, pose, shown.seen, torch.zeros_like(shown.told))
        return Conditions(shown, nothing, nothing, shown)

    def shown(self, texts: list[str], pose: Float[Tensor, "B 16"], seen: Float[Tensor, "B T F"]) -> Pictured:
        """Captions, poses and what was seen of a picture, as a condition."""
        words = self.encode_text(texts)
        told = torch.ones(len(texts), dtype=torch.bool, device=seen.device)
        return Pictured(words.features, words.mask, pose, seen, told)

    def beside(self, condition: Any) -> dict[str, Tensor]:
        """What was seen of the picture, and whether it is told."""
        return {"seen": condition.seen, "told": condition.told}

    @torch.no_grad()
    def read(self, x: Float[Tensor, "1 3 h w"], pose: Float[Tensor, "1 16"]) -> str:
        """The plain caption that a picture is best denoised with (Li et al. 2023, diffusion classifiers)."""
        texts = [captions.phrase(captions.Description(*each)) for each in product(captions.KINDS, captions.COLORS)]
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
        nothing = self.net.look(
            x, *self.net.text(x.new_zeros(1, captions.CONTEXT, dtype=torch.long)), self.net.camera(pose)
        )
        errors = torch.zeros(len(texts), device=x.device)
        for t in READ_AT:
            x_t = self.schedule.diffuse(x, noise, torch.full((1,), t))
            for first in range(0, len(texts), READ_ROWS):
                part = texts[first : first + READ_ROWS]
                rows = len(part)
                told = replace(
                    self.shown(part, pose.expand(rows, -1), nothing.expand(rows, -1, -1)),
                    told=torch.zeros(rows, dtype=torch.bool, device=x.device),
                )
                (eps,) = self.eps(x_t.expand(rows, -1, -1, -1), torch.full((rows,), t), told)
                errors[first : first + rows] += (eps - noise).square().mean((1, 2, 3))
        return texts[int(errors.argmin())]

    @torch.no_grad()
    def _look(self, photo: Photo) -> tuple[str, Float[Tensor, "1 T F"]]:
        picture = self.encode(photo.over(torch.tensor(BACKGROUND))[None].to(self.device))
        pose = poses(photo.camera).to(picture)
        caption = self.read(picture, pose)
        words = self.encode_text([caption])
        return caption, self.net.look(picture, words.features, words.mask, self.net.camera(pose))


def load(path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> ToyboxPrior:
    """The prior of whichever task whose weights a file holds; ValueError as `ToyboxPrior.load`."""
    kinds = {kind.network.__name__: kind for kind in (ToyboxPrior, ToyboxViewsPrior, ToyboxPosePrior)}
    return kinds[network_of(path)].load(path, device, dtype)
