"""LPIPS (Zhang et al. 2018, version 0.1, AlexNet): how different two images are to the eye.

The distance of AlexNet's features of both images, unit vectors in each pixel, weighted by channel and averaged over
the pixels, summed over five layers. The weights of the channels are the authors' (BSD 2-clause; weights/lpips-alex.md).

B images of one camera   P pairs   rgb in [0, 1]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from scoredistill.evaluate import embedded
from scoredistill.evaluate.networks import fill, read_pickled
from scoredistill.files import check_digest

HEADS = embedded.FOLDER / "lpips-alex.safetensors"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pixels in [-1, 1]
LEAST = 31  # pixels of a side: below, the third layer has no pixel
CHUNK = 16  # pairs at a time, which bounds the memory


class Lpips:
    """AlexNet's convolutions with the weights that torchvision publishes, and LPIPS' weights of their channels."""

    def __init__(self, weights: Path) -> None:
        """ValueError in one line for a file that is damaged or of another network."""
        check_digest(HEADS)
        self.network = nn.ModuleDict({"features": _alexnet()})
        fill(self.network, read_pickled(weights), weights)
        self.heads = load_file(HEADS)

    @torch.no_grad()
    def pairs(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "P"]:
        """The distances of all pairs of images, those of the first image first; ValueError for small images."""
        if min(rgb.shape[-2:]) < LEAST:
            raise ValueError(f"LPIPS needs images of {LEAST} pixels or more on a side, got {min(rgb.shape[-2:])}")
        one, other = torch.triu_indices(len(rgb), len(rgb), 1)
        total = rgb.new_zeros(len(one))
        for head, features in zip(self.heads.values(), self._features(rgb), strict=True):
            for part in torch.arange(len(one)).split(CHUNK):
                squares = (features[one[part]] - features[other[part]]) ** 2
                total[part] += torch.einsum("pchw,c->phw", squares, head).mean((1, 2))
        return total

    def _features(self, rgb: Float[Tensor, "B 3 H W"]) -> Iterator[Float[Tensor, "B C h w"]]:
        """The features after each nonlinearity, unit vectors in every pixel."""
        shift, scale = (rgb.new_tensor(each)[:, None, None] for each in (SHIFT, SCALE))
        x = (2 * rgb - 1 - shift) / scale
        for layer in self.network["features"].children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                yield x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _alexnet() -> nn.Sequential:
    """AlexNet's convolutions (Krizhevsky 2014); the names of the tensors are torchvision's."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )
