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
from scoredistill.kernels.types import GridLayout
from scoredistill.kernels.warp.hashgrid_input_gradient import points_gradient, second_derivatives, table_derivatives
from scoredistill.kernels.warp.hashgrid_native import interpolate, interpolate_levels, table_gradient

BLOCK = 1024
"""Points per block on a CPU: enough to make the set-up of a level negligible. On a GPU each point has a thread."""

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
        return *EncodeBackward.apply(*ctx.saved_tensors, grad, *ctx.grid, ctx.needs_input_grad[:2]), None, None


class EncodeBackward(torch.autograd.Function):
    """The gradients G^T df/dx and G^T df/dv of the encoding f(x, v), for points x, a table v and a gradient G.

    `required` says which of the two are computed.
    """

    @staticmethod
    def forward(
        ctx: Any,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "V 2"],
        grad: Float[Tensor, "N features"],
        layout: GridLayout,
        active: int,
        required: tuple[bool, bool],
    ) -> tuple[Grad, Grad]:
        points, table, planes = points.contiguous(), table.contiguous(), grad.T.contiguous()
        ctx.save_for_backward(points, table, planes)
        ctx.set_materialize_grads(False)
        ctx.grid = layout, active
        to_points = _points_gradient(points, table, planes, layout, active) if required[0] else None
        to_table = _table_gradient(points, table, planes, layout, active) if required[1] else None
        return to_points, to_table

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Grad, w: Grad) -> tuple[Grad, ...]:  # type: ignore[override]
        """u [N 3] is the gradient with respect to G^T df/dx, and w [V 2] that with respect to G^T df/dv.

        G^T (df/dx) u has the gradients (df/dx) u to G, G^T d2f/dx2 u to x, and G^T d2f/dx dv u to v; G^T (df/dv) w is
        G^T f(x, w), since f is linear in the table.
        """
        points, table, planes = ctx.saved_tensors
        to_x, to_grad, to_v = torch.zeros_like(points), torch.zeros_like(planes), torch.zeros_like(table)
        if u is not None:
            u = (u * _inside(points)).contiguous()
            grid, pieces = _grid(points, *ctx.grid, whole=True)
            arguments = [points, table, *grid, planes, u, to_grad, to_x]
            launch(second_derivatives, pieces, arguments, points.device, min_slice=1)
            grid, blocks = _grid(points, *ctx.grid)
            arguments = [points, *grid, planes, u, to_v]
            launch(table_derivatives, ctx.grid[1] * blocks, arguments, points.device, grain=blocks)
            to_x = to_x * _inside(points)
        if w is not None:
            w = w.contiguous()
            to_grad = to_grad + _features(points, w, *ctx.grid).T
            to_x = to_x + _points_gradient(points, w, planes, *ctx.grid)
        return to_x, to_v, to_grad.T, None, None, None


def _features(points: Tensor, table: Tensor, layout: GridLayout, active: int) -> Float[Tensor, "N features"]:
    allocate = torch.empty if active == layout.levels else torch.zeros
    features = allocate(layout.width, len(points), device=points.device)
    if points.is_cuda:
        grid, blocks = _grid(points, layout, active)
        launch(interpolate, active * blocks, [points, table, *grid, features], points.device)
    else:
        grid, pieces = _grid(points, layout, active, whole=True)
        launch(interpolate_levels, pieces, [points, table, *grid, features], points.device, min_slice=1)
    return features.T


def _points_gradient(points: Tensor, table: Tensor, planes: Tensor, layout: GridLayout, active: int) -> Tensor:
    gradient = torch.zeros_like(points)
    grid, pieces = _grid(points, layout, active, whole=True)
    launch(points_gradient, pieces, [points, table, *grid, planes, gradient], points.device, min_slice=1)
    return gradient * _inside(points)


def _table_gradient(points: Tensor, table: Tensor, planes: Tensor, layout: GridLayout, active: int) -> Tensor:
    gradient = torch.zeros_like(table)
    grid, blocks = _grid(points, layout, active)
    arguments = [points, *grid, planes, gradient]
    # slices of one level each, so that no two threads write to one level
    launch(table_gradient, active * blocks, arguments, points.device, grain=blocks)
    return gradient


def _inside(points: Float[Tensor, "N 3"]) -> Tensor:
    """Whether each coordinate is in [0, 1]; outside it is clamped and its gradient is zero."""
    return (points >= 0) & (points <= 1)


def _grid(
    points: Float[Tensor, "N 3"], layout: GridLayout, active: int, *, whole: bool = False
) -> tuple[list[Any], int]:
    """The arguments that describe the grid to a kernel, and the number of blocks of a level.

    With `whole`, a kernel processes all levels of a block, and there is one block for each thread, since every block
    reads the tables of all levels.
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
