"""An image as a scene: the parameters are its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.config import Batch, Config, Deviation, Fraction, LearningRate
from scoredistill.contracts import Frame


@dataclass(frozen=True)
class ImageConfig(Config):
    """Images side by side, each from gray noise of its own."""

    count: Batch = 4  # number of images
    lr: LearningRate = 2e-2  # learning rate of the pixels
    mean: Fraction = 0.5  # mean of the initial pixels
    noise: Deviation = 0.2  # standard deviation of the initial pixels

    flat: ClassVar[bool] = True

    def build(self, *, rng: torch.Generator, steps: int, resolution: int) -> Image:
        """The scene before the first step."""
        shape = (self.count, 3, resolution, resolution)
        return Image(self.mean + self.noise * torch.randn(shape, generator=rng), lr=self.lr)


class Image(nn.Module):
    """B images, or latents of a prior, optimized side by side; one for each seed or caption.

    The parameters are the image itself, unsquashed, so that a method's fixed points are the prior's
    own (a 2D distillation with cached noise is DDIM) and values may leave [0, 1] on the way.
    """

    def __init__(self, initial: Float[Tensor, "B C H W"], *, lr: float = 1e-2) -> None:
        super().__init__()
        self.pixels = nn.Parameter(initial.detach().clone())
        self.lr = lr

    def render(
        self, cameras: Cameras | None, background: Float[Tensor, "3"], rng: torch.Generator | None = None
    ) -> Frame:
        """The images themselves, opaque; cameras, background and `rng` have no effect."""
        nothing = torch.zeros_like(self.pixels[:, :1])
        normal = nothing.expand(-1, 3, -1, -1)
        return Frame(self.pixels, torch.ones_like(nothing), nothing, normal)

    def param_groups(self) -> list[dict[str, Any]]:
        """The pixels, at the learning rate `lr`."""
        return [{"name": "pixels", "params": [self.pixels], "lr": self.lr}]

    def regularizer(self, frame: Frame, cameras: Cameras | None, progress: float) -> Float[Tensor, ""]:
        """Zero: an image has no losses of its own."""
        return frame.rgb.new_zeros(())

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """No updates."""
