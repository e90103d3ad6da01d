"""Rendering in tiles: the memory of a gradient grows with the size of a tile, not with that of the image.

R rays; origins, directions and similar quantities are tensors with R rows
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scoredistill.render.volume import RayColors

Render = Callable[..., RayColors]


def in_tiles(render: Render, rays: Sequence[Tensor], parameters: Sequence[Tensor], tile: int | None) -> RayColors:
    """`render(*rays)` in tiles of at most `tile` rays, differentiable in `parameters` alone; None: all at once.

    Deferred back-propagation (Zhang et al. 2022, "ARF"): the image is rendered without a graph and its gradient is
    computed at the pixels; then each tile is rendered again with a graph, which is freed after the tile's backward
    pass. `render` must treat rays independently and be deterministic. A tile consists of every k-th ray, so that tiles
    cost about the same wherever the object is in the image.
    """
    if tile is None:
        return render(*rays)
    count = len(rays[0])
    k = -(-count // tile) | 1  # odd: with an even k and an even width, a tile would be some columns of the image
    parts = [_RenderTile.apply(render, [values[first::k] for values in rays], *parameters) for first in range(k)]
    place = torch.cat([torch.arange(first, count, k) for first in range(k)]).argsort().to(rays[0].device)
    return RayColors(*(torch.cat(values).index_select(0, place) for values in zip(*parts, strict=True)))


class _RenderTile(torch.autograd.Function):
    """One tile. torch.utils.checkpoint does not serve: the gradient inside the normals would make it retain a graph."""

    @staticmethod
    def forward(ctx: Any, render: Render, rays: Sequence[Tensor], *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.render, ctx.rays = render, rays
        ctx.save_for_backward(*parameters)
        return tuple(vars(render(*rays)).values())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            again = tuple(vars(ctx.render(*ctx.rays)).values())
        return None, None, *torch.autograd.grad(again, ctx.saved_tensors, grads, allow_unused=True)
