"""The fast twin of `kernels.hashgrid`: interpolation, its gradients to the table and to the points, and theirs.

N points   V entries of all levels   features and their gradients are planes [features N], the columns of [N features]
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from scoredistill.kernels.backend import launch
from scoredistill.kernels.hashgrid import GridLayout
from scoredistill.kernels.warp.hashgrid_native import interpolate, to_table
from scoredistill.kernels.warp.hashgrid_slopes import slopes_to_table, to_points, turn_points

BLOCK = 1024
"""Points of a block on a CPU: what a level costs to set up is forgotten; on a GPU each point has its own thread."""

Grad = Tensor | None


class Encode(torch.autograd.Function):
    """`kernels.hashgrid.encode`, differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any, points: Float[Tensor, "N 3"], table: Float[Tensor, "V 2"], layout: GridLayout, active: int
    ) -> Float[Tensor, "N features"]:
        points, table = points.contiguous(), table.contiguous()
        ctx.save_for_backward(points, table)
        ctx.grid = layout, active
        return _features(points, table, layout, active)

    @staticmethod
    def backward(ctx: Any, grad: Float[Tensor, "N features"]) -> tuple[Grad, ...]:  # type: ignore[override]
        return *Slopes.apply(*ctx.saved_tensors, grad, *ctx.grid, ctx.needs_input_grad[:2]), None, None


class Slopes(torch.autograd.Function):
    """The gradients G^T df/dx and G^T df/dv of the encoding f(x, v), at points x, a table v and a gradient G."""

    @staticmethod
    def forward(
        ctx: Any,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "V 2"],
        grad: Float[Tensor, "N features"],
        layout: GridLayout,
        active: int,
        asked: tuple[bool, bool],
    ) -> tuple[Grad, Grad]:
        points, table, planes = points.contiguous(), table.contiguous(), grad.T.contiguous()
        ctx.save_for_backward(points, table, planes)
        ctx.set_materialize_grads(False)
        ctx.grid = layout, active
        slopes = _to_points(points, table, planes, layout, active) if asked[0] else None
        entries = _to_table(points, table, planes, layout, active) if asked[1] else None
        return slopes, entries

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along: Grad, values: Grad) -> tuple[Grad, ...]:  # type: ignore[override]
        """Of the slopes, whose gradient is `along` [N 3], and of the table's gradient, whose gradient is `values`.

        G^T (df/dx) u has the gradients (df/dx) u to G, G^T d2f/dx2 u to x, and G^T d2f/dx dv u to v; G^T (df/dv) w is
        G^T f(x, w), since f is linear in the table.
        """
        points, table, planes = ctx.saved_tensors
        to_x, to_grad, to_v = torch.zeros_like(points), torch.zeros_like(planes), torch.zeros_like(table)
        if along is not None:
            along = (along * _inside(points)).contiguous()
            grid, pieces = _grid(points, *ctx.grid, whole=True)
            launch(turn_points, pieces, [points, table, *grid, planes, along, to_grad, to_x], points.device, least=1)
            grid, blocks = _grid(points, *ctx.grid)
            arguments = [points, *grid, planes, along, to_v]
            launch(slopes_to_table, ctx.grid[1] * blocks, arguments, points.device, grain=blocks)
            to_x = to_x * _inside(points)
        if values is not None:
            values = values.contiguous()
            to_grad = to_grad + _features(points, values, *ctx.grid).T
            to_x = to_x + _to_points(points, values, planes, *ctx.grid)
        return to_x, to_v, to_grad.T, None, None, None


def _features(points: Tensor, table: Tensor, layout: GridLayout, active: int) -> Float[Tensor, "N features"]:
    room = torch.empty if active == layout.levels else torch.zeros
    features = room(layout.width, len(points), device=points.device)
    grid, blocks = _grid(points, layout, active)
    launch(interpolate, active * blocks, [points, table, *grid, features], points.device, least=2)
    return features.T


def _to_points(points: Tensor, table: Tensor, planes: Tensor, layout: GridLayout, active: int) -> Tensor:
    slopes = torch.zeros_like(points)
    grid, pieces = _grid(points, layout, active, whole=True)
    launch(to_points, pieces, [points, table, *grid, planes, slopes], points.device, least=1)
    return slopes * _inside(points)


def _to_table(points: Tensor, table: Tensor, planes: Tensor, layout: GridLayout, active: int) -> Tensor:
    entries = torch.zeros_like(table)
    grid, blocks = _grid(points, layout, active)
    arguments = [points, *grid, planes, entries]
    launch(to_table, active * blocks, arguments, points.device, grain=blocks)  # no two threads in one level
    return entries


def _inside(points: Float[Tensor, "N 3"]) -> Tensor:
    """Along which axes each point is inside; outside it stays on the surface."""
    return (points >= 0) & (points <= 1)


def _grid(
    points: Float[Tensor, "N 3"], layout: GridLayout, active: int, *, whole: bool = False
) -> tuple[list[Any], int]:
    """What a kernel must know of the grid, and the number of blocks of a level.

    Kernels that take `whole` blocks, all their levels, get one for each thread: it fetches every level's table.
    """
    block = max(BLOCK, -(-len(points) // torch.get_num_threads())) if whole else BLOCK
    block = 1 if points.device.type == "cuda" else block
    return [_levels(layout, active, points.device), layout.table - 1, block], -(-len(points) // block)


@functools.cache
def _levels(layout: GridLayout, active: int, device: torch.device) -> Int[Tensor, "L 3"]:
    offsets = itertools.accumulate(layout.sizes, initial=0)
    rows = [
        (resolution, offset, resolution + 1 if (resolution + 1) ** 3 <= layout.table else 0)
        for resolution, offset in zip(layout.resolutions[:active], offsets, strict=False)
    ]
    return torch.tensor(rows, dtype=torch.int32, device=device).view(-1, 3)
