"""The network of the judge: an image tower and a text tower into one space, compared by cosine similarity.

B images or captions   L tokens of a caption   D width of the joint space   images are rgb in [0, 1]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

SIZE = 64  # pixels per side, the resolution of Toybox images
_GROUP = 16  # channels per normalization group; divides every width
_INITIAL_TEMPERATURE = 0.07  # of the softmax; learned in training (Radford et al. 2021, section 2.5)
_MAX_LOGIT_SCALE = 100.0  # prevents a collapse of the softmax (same section)


@dataclass(frozen=True)
class Shape:
    """The sizes of both towers, stored with the weights."""

    vocabulary: int
    context: int
    widths: Sequence[int] = (32, 64, 128, 256)  # of the image stages at 32, 16, 8 and 4 pixels per side
    text_width: int = 128
    text_layers: int = 2
    joint: int = 128


class JudgeNetwork(nn.Module):
    """A small CLIP (Radford et al. 2021): unit features of images and captions, and a learned logit scale."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.image = ImageTower(shape.widths, shape.joint)
        self.text = TextTower(shape)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_INITIAL_TEMPERATURE)))

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The factor of the cosines before a softmax."""
        return self.log_scale.exp().clamp(max=_MAX_LOGIT_SCALE)

    def loss(self, image: Float[Tensor, "B D"], text: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
        """Symmetric InfoNCE over a batch of matching images and captions."""
        logits = self.logit_scale * image @ text.T
        own = torch.arange(len(logits), device=logits.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


class ImageTower(nn.Module):
    """A residual convolutional network; each stage halves the resolution. The output is the mean over the image."""

    def __init__(self, widths: Sequence[int], joint: int) -> None:
        super().__init__()
        first, *rest = widths
        stages: list[nn.Module] = [nn.Conv2d(3, first, 4, stride=2, padding=1), nn.SiLU()]
        for narrow, wide in zip(widths, rest, strict=False):
            stages += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), Residual(wide), Residual(wide)]
        self.stages = nn.Sequential(*stages, nn.GroupNorm(widths[-1] // _GROUP, widths[-1]), nn.SiLU())
        self.head = nn.Linear(widths[-1], joint)

    def forward(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        x = self.stages((2 * rgb - 1).contiguous(memory_format=torch.channels_last))
        return _unit(self.head, x.mean((2, 3)))


class Residual(nn.Module):
    """x + conv(silu(norm(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(width // _GROUP, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.conv(functional.silu(self.norm(x)))


class TextTower(nn.Module):
    """A small transformer over token ids, averaged over all tokens but padding (0)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.text_width
        self.words = nn.Embedding(shape.vocabulary, width)
        self.places = nn.Parameter(0.02 * torch.randn(shape.context, width))
        layer = nn.TransformerEncoderLayer(
            width,
            nhead=4,
            dim_feedforward=2 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, shape.text_layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, shape.joint)

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        # the first position always counts, so that the empty caption has a feature too
        padding = functional.pad(tokens[:, 1:] == 0, (1, 0))
        x = self.words(tokens) + self.places[: tokens.shape[1]]
        x = self.layers(x, src_key_padding_mask=padding)
        present = (~padding).to(x.dtype)[..., None]
        mean = (x * present).sum(1) / present.sum(1)
        return _unit(self.head, mean)


def _unit(head: nn.Linear, x: Tensor) -> Tensor:
    # autocast returns half precision, which is too coarse for cosines
    return functional.normalize(head(x).to(head.weight.dtype), dim=-1)
