"""The Inception features of FID (Heusel et al. 2017): TensorFlow's InceptionV3 of 2015-12-05 up to its last pooling.

Names of the tensors are those of the file that torch-fidelity and pytorch-fid publish. Unlike torchvision's network:
pictures are resized as TensorFlow 1 does, average pooling does not count the padding, and the last block pools by the
maximum.

B images   rgb in [0, 1]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scoredistill.evaluate.networks import fill, read_pickled

SIZE = 299  # pixels of a side
BATCH = 8  # images at a time, which bounds the memory

Kernel = int | tuple[int, int]
Layer = tuple[int, Kernel] | tuple[int, Kernel, int]  # output channels, kernel, stride (1 if not given)
Fork = list[Layer]  # side by side


class Conv(nn.Module):
    """Convolution, normalization, ReLU; padded so that a stride of 1 leaves the size as it is, unless `valid`."""

    def __init__(self, inside: int, layer: Layer, *, valid: bool = False) -> None:
        super().__init__()
        outside, kernel, *stride = layer
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid or stride else (high // 2, wide // 2)
        self.conv = nn.Conv2d(inside, outside, (high, wide), *stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Chains of layers side by side, whose outputs are concatenated, and last a pooling, by `pool` 3 x 3.

    Without a layer after the pooling the block halves the size.
    """

    def __init__(self, inside: int, chains: Mapping[str, Sequence[Layer | Fork]], pooled: int, pool: str) -> None:
        super().__init__()
        self.pool, self.chains = pool, []
        for name, layers in chains.items():
            steps: list[list[str]] = []
            channels = inside
            for place, step in enumerate(layers, 1):
                beside = step if isinstance(step, list) else [step]
                names = [f"{name}_{place}{side}" for side in ("ab" if len(beside) > 1 else [""])]
                names = [name] if len(layers) == 1 else names
                for each, layer in zip(names, beside, strict=True):
                    self.add_module(each, Conv(channels, layer))
                steps.append(names)
                channels = beside[0][0]
            self.chains.append(steps)
        self.branch_pool = Conv(inside, (pooled, 1)) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self._chain(x, steps) for steps in self.chains]
        if self.branch_pool is None:
            return torch.cat([*outputs, functional.max_pool2d(x, 3, stride=2)], 1)
        mean = functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        pooled = mean if self.pool == "mean" else functional.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([*outputs, self.branch_pool(pooled)], 1)

    def _chain(self, x: Tensor, steps: Sequence[Sequence[str]]) -> Tensor:
        for names in steps:
            x = torch.cat([self.get_submodule(name)(x) for name in names], 1)
        return x


class Network(nn.Module):
    """InceptionV3 from pixels in [-1, 1] to 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, (32, 3, 2))
        self.Conv2d_2a_3x3 = Conv(32, (32, 3), valid=True)
        self.Conv2d_2b_3x3 = Conv(32, (64, 3))
        self.Conv2d_3b_1x1 = Conv(64, (80, 1))
        self.Conv2d_4a_3x3 = Conv(80, (192, 3), valid=True)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _a(192, 32), _a(256, 64), _a(288, 64)
        self.Mixed_6a = Mixed(288, {"branch3x3": [(384, 3, 2)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3, 2)]}, 0, "")
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_c, (128, 160, 160, 192))
        self.Mixed_7a = Mixed(
            768,
            {
                "branch3x3": [(192, 1), (320, 3, 2)],
                "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)],
            },
            0,
            "",
        )
        self.Mixed_7b, self.Mixed_7c = _e(1280, "mean"), _e(2048, "max")

    def forward(self, x: Float[Tensor, "B 3 299 299"]) -> Float[Tensor, "B 2048"]:
        for name, block in self.named_children():
            x = block(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = functional.max_pool2d(x, 3, stride=2)
        return x.mean((2, 3))


class Inception:
    """The network with published weights."""

    def __init__(self, weights: Path) -> None:
        """ValueError in one line for a file that is damaged or of another network."""
        self.network = Network()
        fill(self.network, read_pickled(weights), weights)

    @torch.no_grad()
    def features(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 2048"]:
        """The features of images, which are rounded to 8 bits and resized to 299 x 299."""
        return torch.cat([self.network(_pixels(part)) for part in rgb.split(BATCH)])


def _a(inside: int, pooled: int) -> Mixed:
    chains: dict[str, Sequence[Layer | Fork]] = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return Mixed(inside, chains, pooled, "mean")


def _c(width: int) -> Mixed:
    along, down = (1, 7), (7, 1)
    chains: dict[str, Sequence[Layer | Fork]] = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, along), (192, down)],
        "branch7x7dbl": [(width, 1), (width, down), (width, along), (width, down), (192, along)],
    }
    return Mixed(768, chains, 192, "mean")


def _e(inside: int, pool: str) -> Mixed:
    fork: Fork = [(384, (1, 3)), (384, (3, 1))]
    chains: dict[str, Sequence[Layer | Fork]] = {
        "branch1x1": [(320, 1)],
        "branch3x3": [(384, 1), fork],
        "branch3x3dbl": [(448, 1), (384, 3), fork],
    }
    return Mixed(inside, chains, 192, pool)


def _pixels(rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 299 299"]:
    """Levels of 8 bits, resized and scaled to about [-1, 1] as in the published graph."""
    levels = (255 * rgb.clamp(0, 1)).round()
    down, across = (_resizing(size).to(rgb) for size in rgb.shape[-2:])
    return (down @ levels @ across.T - 128) / 128


def _resizing(size: int) -> Float[Tensor, "299 N"]:
    """TensorFlow 1's bilinear resizing of an axis as a matrix: pixel i of the output is at i size / 299."""
    place = torch.arange(SIZE) * (size / SIZE)
    before = place.floor().long()
    share = place - before
    matrix = torch.zeros(SIZE, size)
    rows = torch.arange(SIZE)
    matrix[rows, before] += 1 - share
    matrix[rows, (before + 1).clamp(max=size - 1)] += share
    return matrix
