"""How pictures change in the course of a generation: from blurry to sharp, or from noise to an image.

N images   H W pixels in [0, 1]   K moments   C captions   S seeds
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTS = 6  # of a run, evenly over its steps


def moments(steps: int, count: int = MOMENTS) -> list[int]:
    """The steps of a run at which it is looked at, the first and the last among them."""
    return sorted({round(k * (steps - 1) / (count - 1)) for k in range(count)})


def detail(rgb: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N"]:
    """Root mean square difference of neighboring pixels, down and to the right: 0 for a plain image."""
    down, right = rgb[..., 1:, :-1] - rgb[..., :-1, :-1], rgb[..., :-1, 1:] - rgb[..., :-1, :-1]
    return (down.square() + right.square()).flatten(1).mean(1).sqrt()


def apart(one: Sequence[Float[Tensor, "*N"]], other: Sequence[Float[Tensor, "*N"]]) -> Float[Tensor, "*N"]:
    """The mean distance of two courses, over the moments of both."""
    return (torch.stack(list(one)) - torch.stack(list(other))).abs().mean(0)
