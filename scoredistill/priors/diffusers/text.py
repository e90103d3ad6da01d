"""Encoded texts: each encoded once, after which the text encoders are freed.

tokens  features of each token of a text, from all encoders          [B L D]
pooled  one vector for the whole text, if the denoiser uses it       [B P]
mask    tokens that are not padding, if the denoiser uses it         [B L]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scoredistill.priors.network import stacked


@dataclass(frozen=True)
class Embedded:
    """An encoded text for each of B images."""

    tokens: Float[Tensor, "B L D"]
    pooled: Float[Tensor, "B P"] | None = None
    mask: Bool[Tensor, "B L"] | None = None

    def __len__(self) -> int:
        return len(self.tokens)


TextEncoder = Callable[[list[str]], Embedded]


def mixed(parts: Sequence[Embedded], weights: Float[Tensor, "B K"]) -> Embedded:
    """sum_k weights[:, k] parts[k] for each image: interpolated embeddings; the masks are united."""

    def total(values: list[Tensor]) -> Tensor:
        return torch.stack([over(weights[:, k], value) * value for k, value in enumerate(values)]).sum(0)

    pooled = [part.pooled for part in parts if part.pooled is not None]
    masks = [part.mask for part in parts if part.mask is not None]
    return Embedded(
        total([part.tokens for part in parts]),
        total(pooled) if pooled else None,
        reduce(torch.logical_or, masks) if masks else None,
    )


def over(weight: Tensor, like: Tensor) -> Tensor:
    """`weight` [B] reshaped for multiplication with `like` [B ...]."""
    return weight.to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))


class Texts:
    """Embeddings of texts, each computed once; `load` returns the encoders, which are freed after use."""

    def __init__(self, load: Callable[[], TextEncoder]):
        self.load = load
        self.known: dict[str, Embedded] = {}

    @torch.no_grad()
    def encode(self, texts: Iterable[str]) -> None:
        """Encode the texts that are new, loading the encoders at most once."""
        if new := [text for text in dict.fromkeys(texts) if text not in self.known]:
            encoder = self.load()
            self.known |= {text: encoder([text]) for text in new}

    def __call__(self, texts: Sequence[str]) -> Embedded:
        """The embeddings of B texts."""
        self.encode(texts)
        return stacked([self.known[text] for text in texts])
