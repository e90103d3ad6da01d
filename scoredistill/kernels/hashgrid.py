"""Multi-resolution hash-grid encoding of points (Mueller et al. 2022, "Instant neural graphics primitives").

N points in [0, 1]^3   L levels   V table entries of all levels together   2 features per entry
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.types import FEATURES, GridLayout

__all__ = ["FEATURES", "GridLayout", "encode", "input_gradient", "reference"]

PRIMES = (1, 2654435761 - 2**32, 805459861)
"""The paper's pi_1..pi_3 as signed 32-bit integers: products wrap, and the low bits are the paper's."""


def encode(
    points: Float[Tensor, "N 3"], table: Float[Tensor, "V 2"], layout: GridLayout, active: int
) -> Float[Tensor, "N features"]:
    """Trilinear interpolation of the entries of every level, concatenated (Mueller et al. 2022, section 3).

    Twice differentiable in `table` and `points`; the gradient with respect to the points is computed only if they
    require it. Points outside [0, 1]^3 are clamped to its surface. Levels from `active` on give zeros (progressive
    levels).
    """
    active = min(active, layout.levels)
    if backend.use_warp(points, table):
        from scoredistill.kernels.warp.hashgrid import Encode

        return Encode.apply(points, table, layout, active)
    return reference(points, table, layout, active)


def input_gradient(
    points: Float[Tensor, "N 3"],
    table: Float[Tensor, "V 2"],
    grad_output: Float[Tensor, "N features"],
    layout: GridLayout,
    active: int,
) -> Float[Tensor, "N 3"]:
    """grad_output^T df/dx: the gradient of the encoding f with respect to its points x; differentiable in all inputs.

    The same as differentiating `encode` twice by autograd, without the intermediate gradient to the table.
    """
    active = min(active, layout.levels)
    if backend.use_warp(points, table, grad_output):
        from scoredistill.kernels.warp.hashgrid import EncodeBackward

        return EncodeBackward.apply(points, table, grad_output, layout, active, (True, False))[0]
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        points = points if points.requires_grad else points.detach().requires_grad_()
        encoded = reference(points, table, layout, active)
        return torch.autograd.grad(encoded, points, grad_output, create_graph=training)[0]


def reference(
    points: Float[Tensor, "N 3"], table: Float[Tensor, "V 2"], layout: GridLayout, active: int
) -> Float[Tensor, "N features"]:
    """`encode` in plain torch."""
    axes = points.clamp(0, 1).T.contiguous()
    entries = torch.view_as_complex(table).split(layout.sizes)
    levels = [_level(axes, entries[level], layout.resolutions[level], layout.table) for level in range(active)]
    inactive = layout.levels - len(levels)
    encoded = torch.view_as_real(torch.stack(levels, 1)).flatten(1)
    return torch.nn.functional.pad(encoded, (0, FEATURES * inactive)) if inactive else encoded


def _level(axes: Float[Tensor, "3 N"], entries: Complex[Tensor, "T"], resolution: int, table: int) -> Tensor:
    """Interpolated entries [N] of one level, as complex numbers."""
    position = axes * resolution
    cell = position.detach().floor().clamp(max=resolution - 1)
    high = position - cell
    weights = list(zip(1 - high, high, strict=True))  # for each axis: weight of the near and of the far vertex
    dense = (resolution + 1) ** 3 <= table
    strides = (1, resolution + 1, (resolution + 1) ** 2) if dense else PRIMES
    combine = torch.add if dense else torch.bitwise_xor  # eq. 4
    near = [index * stride for index, stride in zip(cell.int(), strides, strict=True)]
    x, y, z = ((index, index + stride) for index, stride in zip(near, strides, strict=True))
    total = torch.zeros((), dtype=entries.dtype, device=entries.device)
    for i, j, k in itertools.product((0, 1), repeat=3):
        index = combine(combine(x[i], y[j]), z[k]) & (table - 1)  # a dense index is always below `table`
        total = total + entries.index_select(0, index) * (weights[0][i] * weights[1][j] * weights[2][k])
    return total
