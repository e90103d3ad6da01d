"""An image as a scene: the parameters are its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.camera import Cameras
from scoredistill.config import Batch, Config, Deviation, Finite, Fraction, LearningRate, NonNegative
from scoredistill.contracts import Frame

SIDE = 64  # pixels of a side of the images that the embedded priors denoise


@dataclass(frozen=True)
class ImageConfig(Config):
    """Several images, each initialized with its own gray noise, optimized with Adam or plain gradient descent.

    Gradient descent takes `steps` steps of size `descent` / `steps`, at most 1; with `falling`, the sizes decrease
    linearly from twice that to 0. A step of size 1 subtracts the whole gradient from x, the image in [-1, 1] at
    64 x 64 pixels, if the gradient is not divided by anything (reduction `sum_over_batch`).
    """

    count: Batch = 4  # number of images
    lr: LearningRate = 2e-2  # Adam's learning rate of the pixels
    mean: Fraction = 0.5  # mean of the initial pixels
    tint: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)  # added to the initial red, green and blue
    noise: Deviation = 0.2  # standard deviation of the initial pixels
    descent: NonNegative = 0.0  # sum of the step sizes of plain gradient descent; 0: Adam
    falling: bool = True  # the step sizes of plain gradient descent decrease linearly to 0

    flat: ClassVar[bool] = True

    def build(self, *, rng: torch.Generator, steps: int, resolution: int) -> Image:
        """The scene before the first step."""
        noise = torch.randn(self.count, 3, resolution, resolution, generator=rng)
        initial = self.mean + torch.tensor(self.tint).reshape(3, 1, 1) + self.noise * noise
        if not self.descent:
            return Image(initial, lr=self.lr)
        return DescendingImage(initial, self.step_sizes(steps))

    def step_sizes(self, steps: int) -> list[float]:
        """The step sizes of plain gradient descent in a run of `steps` steps."""
        average = self.descent / steps
        return [min(1.0, 2 * average * (1 - step / steps) if self.falling else average) for step in range(steps)]


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


class DescendingImage(Image):
    """Images optimized by plain gradient descent, with one of `step_sizes` for each step.

    Adam divides every pixel's step by the size of that pixel's own gradients, so that pixels on which a method has
    almost no gradient move as fast as all others, and noisily; here they rest.
    """

    def __init__(self, initial: Float[Tensor, "B C H W"], step_sizes: list[float]) -> None:
        super().__init__(initial)
        self.step_sizes = step_sizes
        # x = 2 rgb - 1 at SIDE x SIDE pixels: a factor 2 from pixel to x and 2 in its gradient; a pixel of a larger
        # image has a share of the gradient only
        self.unit = (initial.shape[-1] / SIDE) ** 2 / 4

    def param_groups(self) -> list[dict[str, Any]]:
        """The pixels, at the learning rate of the first step."""
        return [{"name": "pixels", "params": [self.pixels], "lr": self.unit * self.step_sizes[0]}]

    def optimizer(self) -> torch.optim.Optimizer:
        """Plain gradient descent, without momentum."""
        return torch.optim.SGD(self.param_groups())

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Set the learning rate of the next step."""
        if step + 1 < len(self.step_sizes):
            optimizer.param_groups[0]["lr"] = self.unit * self.step_sizes[step + 1]
