"""The judge's network: a tower for pictures and one for captions, into a space where cosine means agreement.

B pictures or captions   L words of a caption   D width of the joint space   pictures are rgb in [0, 1]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

SIZE = 64  # pixels a side, the size of Toybox pictures
_GROUP = 16  # channels that share a normalization: divides every width
_FIRST_TEMPERATURE = 0.07  # of the softmax, then learned (Radford et al. 2021, section 2.5)
_MAX_LOGIT_SCALE = 100.0  # keeps the softmax from collapsing (same place)


@dataclass(frozen=True)
class Shape:
    """The sizes of both towers; stored beside the weights, so that they can be built again."""

    vocabulary: int
    context: int
    widths: Sequence[int] = (32, 64, 128, 256)  # of the picture's stages: 32, 16, 8, 4 pixels a side
    text_width: int = 128
    text_layers: int = 2
    joint: int = 128


class JudgeNetwork(nn.Module):
    """CLIP in small (Radford et al. 2021): unit features of pictures and captions, a learned logit scale."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.image = ImageTower(shape.widths, shape.joint)
        self.text = TextTower(shape)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_FIRST_TEMPERATURE)))

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """What cosines are multiplied by before a softmax."""
        return self.log_scale.exp().clamp(max=_MAX_LOGIT_SCALE)

    def loss(self, image: Float[Tensor, "B D"], text: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
        """Symmetric InfoNCE over a batch: each picture must find its caption, each caption its picture."""
        logits = self.logit_scale * image @ text.T
        own = torch.arange(len(logits), device=logits.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


class ImageTower(nn.Module):
    """A residual conv-net: halve, widen, refine; then the mean over the picture."""

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
    """A small transformer over word numbers; the mean over the words that are there (0 is padding)."""

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
        absent = functional.pad(
            tokens[:, 1:] == 0, (1, 0)
        )  # the first place always counts: no words at all is a caption too
        x = self.words(tokens) + self.places[: tokens.shape[1]]
        x = self.layers(x, src_key_padding_mask=absent)
        present = (~absent).to(x.dtype)[..., None]
        mean = (x * present).sum(1) / present.sum(1)
        return _unit(self.head, mean)


def _unit(head: nn.Linear, x: Tensor) -> Tensor:
    return functional.normalize(
        head(x).to(head.weight.dtype), dim=-1
    )  # autocast leaves half precision, too coarse for cosines
