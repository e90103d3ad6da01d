"""The embedded prior's network: a small text-conditioned U-Net that predicts v = alpha eps - sigma x.

x_t   noisy image in [-1, 1] * alpha + noise      [B 3 H W]
t     diffusion time in [0, 1]                    [B]
text  token features, the first is the pooled one [B 1+L D]
Attention is at the lowest resolution only: at others it costs more than all convolutions on a CPU.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

LEVELS, LARGEST = 16, 65536  # bounds of a shape that is read from a file


@dataclass(frozen=True)
class Shape:
    """The hyperparameters that determine the shapes of the parameters; stored with the weights."""

    vocabulary: int
    context: int
    widths: tuple[int, ...] = (64, 128, 192)
    blocks: tuple[int, ...] = (1, 1, 2)  # at each width, on the way down and again on the way up
    text_width: int = 128
    text_layers: int = 3
    heads: int = 4
    embedding: int = 256

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Shape:
        """The inverse of `as_dict`; also accepts lists in place of tuples, from JSON. ValueError for absurd values."""
        fixed: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
        }
        for key, value in fixed.items():
            numbers = value if isinstance(value, tuple) else (value,)
            if len(numbers) > LEVELS or not all(isinstance(n, int) and 0 < n <= LARGEST for n in numbers):
                raise ValueError(f"{key} is {value!r}, expected whole numbers from 1 to {LARGEST}")
        return cls(**fixed)


class Attention(nn.Module):
    """Multi-head attention of queries `x` over `context`, pre-normalized, residual."""

    def __init__(self, width: int, context_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(context_width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        normed = self.norm(x)
        q = self._split(self.query(normed))
        k, v = self.key_value(normed if context is None else context).chunk(2, -1)
        # Plain matrix products: torch's fused CPU attention is several times slower at these sizes.
        logits = q @ self._split(k).transpose(-1, -2) * (q.shape[-1] ** -0.5)
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, None, :], -1e4)
        attended = (logits.softmax(-1) @ self._split(v)).transpose(1, 2).flatten(2)
        return x + self.out(attended)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Residual two-layer perceptron, pre-normalized."""

    def __init__(self, width: int):
        super().__init__(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] (base says `input`)
        return x + super().forward(x)


class TextEncoder(nn.Module):
    """A small transformer over words; a learned start token pools the sentence, padding is masked."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.text_width
        self.words = nn.Embedding(shape.vocabulary, width)
        self.positions = nn.Parameter(nn.init.normal_(torch.empty(1 + shape.context, width), std=0.02))
        self.start = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02))
        layers = [m for _ in range(shape.text_layers) for m in (Attention(width, width, 4), FeedForward(width))]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B 1+L D"], Tensor]:
        """Token features with the pooled one first, and the mask of real tokens."""
        x = torch.cat([self.start.expand(len(tokens), 1, -1), self.words(tokens)], 1) + self.positions
        mask = F.pad(tokens != 0, (1, 0), value=True)
        for layer in self.layers:
            x = layer(x, mask=mask) if isinstance(layer, Attention) else layer(x)
        return self.norm(x), mask


class Block(nn.Module):
    """Residual convolution block; the embedding scales and shifts its second normalization (FiLM).

    Where the embedding has several times the rows of x, these are repeated for it, after the part common to all.
    """

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)
        self.film: nn.Module = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[..., None, None].chunk(2, 1)
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        h = self.conv2(F.silu(torch.addcmul(shift, repeated(h, len(scale)), 1 + scale)))
        return repeated(x, len(scale)) + h


class Bottom(nn.Module):
    """The block at the lowest resolution: self-attention over pixels, cross-attention over words."""

    def __init__(self, width: int, text_width: int, heads: int):
        super().__init__()
        self.pixels = Attention(width, width, heads)
        self.words = Attention(width, text_width, heads)
        self.mix = FeedForward(width)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.mix(self.words(self.pixels(tokens), text, mask))
        return tokens.transpose(1, 2).reshape(x.shape).contiguous(memory_format=torch.channels_last)


class UNet(nn.Module):
    """v(x_t, t, caption); 2x2 pixels are folded into channels first, so 64x64 images are processed at 32x32.

    Skip connections are sums instead of concatenations, which halves the cost of the upward convolutions.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        widths, embedding = shape.widths, shape.embedding
        self.text = TextEncoder(shape)
        self.pooled = nn.Linear(shape.text_width, embedding)
        self.time = nn.Sequential(nn.Linear(64, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.modulate: nn.Module = nn.Identity()  # a layer common to all blocks, in a copy for inference
        self.enter = nn.Conv2d(12, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for width, count in zip(widths, shape.blocks, strict=True):
            self.down.append(nn.ModuleList([Block(width, embedding) for _ in range(count)]))
            self.up.insert(0, nn.ModuleList([Block(width, embedding) for _ in range(count)]))
        pairs = list(itertools.pairwise(widths))
        self.shrink = nn.ModuleList([nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs])
        self.grow = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in reversed(pairs)])
        bottom = [Bottom(widths[-1], shape.text_width, shape.heads) for _ in range(2)]
        self.bottom = nn.ModuleList(bottom)
        self.between = Block(widths[-1], embedding)
        self.leave = nn.Sequential(nn.GroupNorm(8, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 12, 3, padding=1))

    def forward(
        self,
        x_t: Float[Tensor, "B C H W"],
        t: Float[Tensor, "B"],
        text: Float[Tensor, "R L D"],
        mask: Tensor,
        view: Float[Tensor, "R E"] | None = None,
    ) -> Float[Tensor, "R 3 H W"]:
        """v of R = B conditions, or of several for each image: those of all images, and again.

        `view`, such as the camera embedding of a learner, is added to the embedding of time and text.
        """
        embedding = self.embed(t, text[:, 0], view, x_t.dtype)
        h, skips = self.descend(x_t, embedding)
        h = self.bottom[0](h, text, mask)
        h = self.bottom[1](self.between(h, embedding), text, mask)
        return self.ascend(h, skips, embedding)

    def embed(self, t: Tensor, pooled: Tensor, view: Tensor | None, dtype: torch.dtype) -> Float[Tensor, "R E"]:
        """The embedding of time, text and camera that conditions every block."""
        embedding = repeated(self.time(_fourier(t).to(dtype)), len(pooled)) + self.pooled(pooled)
        return self.modulate(F.silu(embedding if view is None else embedding + view.to(embedding.dtype)))

    def descend(self, x_t: Tensor, embedding: Tensor) -> tuple[Float[Tensor, "R D h w"], list[Tensor]]:
        """Features at the lowest resolution, and the skip features of each resolution, the highest first."""
        h = self.enter(F.pixel_unshuffle(x_t, 2).contiguous(memory_format=torch.channels_last))
        skips = []
        for level, blocks in enumerate(self.down):
            h = self.shrink[level - 1](h) if level else h
            h = _through(blocks, h, embedding)
            skips.append(h)
        return h, skips

    def ascend(self, h: Tensor, skips: list[Tensor], embedding: Tensor) -> Float[Tensor, "R 3 H W"]:
        """v from the features of the lowest resolution and the skip features."""
        for level, blocks in enumerate(self.up):
            h = F.interpolate(self.grow[level - 1](h), scale_factor=2) if level else h
            h = _through(blocks, h + skips[-1 - level], embedding)
        return F.pixel_shuffle(self.leave(h), 2)


def repeated(x: Tensor, rows: int) -> Tensor:
    """The rows of x again and again, up to `rows`, a multiple of their number; x itself if it has as many."""
    return x if len(x) == rows else torch.cat([x] * (rows // len(x)))  # unlike Tensor.repeat leaves the memory format


def _through(blocks: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for block in blocks.children():
        h = block(h, embedding)
    return h


def _fourier(t: Tensor) -> Tensor:
    """64 sinusoidal features of t, periods from 1/1000 of the range to the whole of it."""
    frequencies = torch.exp(torch.linspace(0, math.log(1000), 32, device=t.device)) * math.pi / 2
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)
