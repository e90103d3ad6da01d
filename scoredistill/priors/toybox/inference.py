"""Predictions without gradients: weights cast once, work that conditions share done once, parts of a batch on threads.

B images   R conditions   V views that are denoised jointly
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.priors.network import part_of, stacked
from scoredistill.priors.threads import on_threads, thread_count
from scoredistill.priors.toybox.unet import Block, UNet

AS_THEY_ARE = ("text", "camera")  # modules that are evaluated outside autocast
VECTOR = (
    32  # numbers in bf16 that an instruction processes; softmax over other counts of words takes four times as long
)


class Columns(nn.Module):
    """Some columns of a matrix."""

    def __init__(self, columns: slice):
        super().__init__()
        self.columns = columns

    def forward(self, x: Float[Tensor, "R N"]) -> Float[Tensor, "R M"]:
        return x[:, self.columns]


def lowered(net: UNet, dtype: torch.dtype) -> UNet:
    """A copy whose linear layers and convolutions are in `dtype`, to which autocast casts them at every call.

    Normalizations remain in float32, as with autocast; so they are also faster than in bf16. The modulations of all
    blocks are computed by one matrix product.
    """
    result = copy.deepcopy(net)
    for name, layer in result.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and not name.startswith(AS_THEY_ARE):
            layer.to(dtype)
    result.modulate = _joined_films([layer for layer in result.modules() if isinstance(layer, Block)])
    return result


def _joined_films(blocks: Sequence[Block]) -> nn.Linear:
    """The modulations of all blocks by one layer; each block then takes its own columns."""
    films = [cast(nn.Linear, block.film) for block in blocks]
    ends = [0, *accumulate(film.out_features for film in films)]
    joined = nn.Linear(films[0].in_features, ends[-1], device="meta").requires_grad_(False)
    joined.weight = nn.Parameter(torch.cat([film.weight for film in films]), requires_grad=False)
    joined.bias = nn.Parameter(torch.cat([film.bias for film in films]), requires_grad=False)
    for block, (start, end) in zip(blocks, pairwise(ends), strict=True):
        block.film = Columns(slice(start, end))
    return joined


def padded(condition: Any, multiple: int) -> Any:
    """The condition with masked words up to a multiple of some number."""
    more = -condition.mask.shape[1] % multiple
    return replace(
        condition, features=F.pad(condition.features, (0, 0, 0, more)), mask=F.pad(condition.mask, (0, more))
    )


def shared_outputs(
    output: Callable[[Tensor, Tensor, Any], Tensor],
    x_t: Float[Tensor, "B C h w"],
    t: Float[Tensor, "B"],
    conditions: Sequence[Any],
    views: int,
    words: int,
) -> list[Float[Tensor, "B C h w"]]:
    """`output(x_t, t, conditions stacked)` for each condition; on a CPU images or, where few, conditions on threads.

    `views` are denoised jointly; the words of a condition are padded to a multiple of `words`.
    """
    threads = thread_count() if x_t.device.type == "cpu" else 1
    count = len(x_t) // views

    def predict(part: tuple[slice, slice]) -> Float[Tensor, "R B C h w"]:
        rows, which = part
        chosen = [part_of(condition, rows) for condition in conditions[which]]
        return output(x_t[rows], t[rows], padded(stacked(chosen), words)).unflatten(0, (len(chosen), -1))

    if count >= min(threads, len(conditions)):
        parts = [(rows, slice(None)) for rows in _even(count, threads, views)]
        return list(torch.cat(on_threads(predict, parts), 1).unbind(0))
    parts = [(slice(None), which) for which in _even(len(conditions), threads)]
    return list(torch.cat(on_threads(predict, parts)).unbind(0))


def _even(count: int, parts: int, unit: int = 1) -> list[slice]:
    """Up to `parts` slices of `count` things of `unit` rows each."""
    parts = min(parts, count)
    return [slice(a * unit, b * unit) for a, b in pairwise(count * part // parts for part in range(parts + 1))]
