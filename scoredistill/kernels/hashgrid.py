"""Multi-resolution hash-grid encoding of points (Mueller et al. 2022, "Instant neural graphics primitives").

N points in [0, 1]^3   L levels   V table entries of all levels together   2 features an entry
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from scoredistill.kernels import backend

FEATURES = 2
"""Features of an entry; two, as in the paper, so that torch moves an entry as one complex number."""

PRIMES = (1, 2654435761 - 2**32, 805459861)
"""The paper's pi_1..pi_3 as signed 32-bit integers: products wrap, and the low bits are the paper's."""


@dataclass(frozen=True)
class GridLayout:
    """Resolutions N_l = floor(N_min b^l) (Mueller et al. 2022, eq. 2 and 3) and the entries of each level."""

    levels: int = 6
    coarsest: int = 12  # cells along a side of level 0
    finest: int = 96  # cells along a side of the last level
    table: int = 2**16  # most entries of a level, a power of two; levels that fit are stored densely

    def __post_init__(self) -> None:
        if self.levels < 1 or self.table < 1 or self.table & (self.table - 1):
            raise ValueError(f"a hash grid needs levels >= 1 and a power of two as table size, got {self}")
        if not 1 <= self.coarsest <= self.finest:
            raise ValueError(f"a hash grid needs 1 <= coarsest <= finest, got {self.coarsest} and {self.finest}")

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        growth = (self.finest / self.coarsest) ** (1 / max(self.levels - 1, 1))
        return tuple(int(self.coarsest * growth**level + 1e-6) for level in range(self.levels))

    @cached_property
    def sizes(self) -> list[int]:
        return [min((resolution + 1) ** 3, self.table) for resolution in self.resolutions]

    @property
    def width(self) -> int:
        """Features of an encoded point."""
        return FEATURES * self.levels


def encode(
    points: Float[Tensor, "N 3"], table: Float[Tensor, "V 2"], layout: GridLayout, active: int
) -> Float[Tensor, "N features"]:
    """Trilinear interpolation of every level's entries, concatenated (Mueller et al. 2022, section 3).

    Differentiable, also twice, in `table` and in `points`; nothing is computed for the points unless they ask
    for a gradient. Points outside [0, 1]^3 are moved onto its surface. Levels from `active` on give zeros
    (progressive band).
    """
    active = min(active, layout.levels)
    if backend.fast(points, table):
        from scoredistill.kernels.warp.hashgrid import Encode

        return Encode.apply(points, table, layout, active)
    return reference(points, table, layout, active)


def slopes(
    points: Float[Tensor, "N 3"],
    table: Float[Tensor, "V 2"],
    pull: Float[Tensor, "N features"],
    layout: GridLayout,
    active: int,
) -> Float[Tensor, "N 3"]:
    """pull^T df/dx, the gradient to the points that a gradient `pull` of the encoding f gives; differentiable in all.

    What autograd makes of `encode` twice, without the gradient to the table that it would make on the way.
    """
    active = min(active, layout.levels)
    if backend.fast(points, table, pull):
        from scoredistill.kernels.warp.hashgrid import Slopes

        return Slopes.apply(points, table, pull, layout, active, (True, False))[0]
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        points = points if points.requires_grad else points.detach().requires_grad_()
        encoded = reference(points, table, layout, active)
        return torch.autograd.grad(encoded, points, pull, create_graph=training)[0]


def reference(
    points: Float[Tensor, "N 3"], table: Float[Tensor, "V 2"], layout: GridLayout, active: int
) -> Float[Tensor, "N features"]:
    """`encode` in plain torch."""
    axes = points.clamp(0, 1).T.contiguous()
    entries = torch.view_as_complex(table).split(layout.sizes)
    levels = [_level(axes, entries[level], layout.resolutions[level], layout.table) for level in range(active)]
    silent = layout.levels - len(levels)
    encoded = torch.view_as_real(torch.stack(levels, 1)).flatten(1)
    return torch.nn.functional.pad(encoded, (0, FEATURES * silent)) if silent else encoded


def _level(axes: Float[Tensor, "3 N"], entries: Complex[Tensor, "T"], resolution: int, table: int) -> Tensor:
    position = axes * resolution
    cell = position.detach().floor().clamp(max=resolution - 1)
    high = position - cell
    weights = list(zip(1 - high, high, strict=True))  # per axis: weight of the near and of the far vertex
    dense = (resolution + 1) ** 3 <= table
    strides = (1, resolution + 1, (resolution + 1) ** 2) if dense else PRIMES
    combine = torch.add if dense else torch.bitwise_xor  # eq. 4
    near = [index * stride for index, stride in zip(cell.int(), strides, strict=True)]
    x, y, z = ((index, index + stride) for index, stride in zip(near, strides, strict=True))
    total = torch.zeros((), dtype=entries.dtype, device=entries.device)
    for i, j, k in itertools.product((0, 1), repeat=3):
        index = combine(combine(x[i], y[j]), z[k]) & (table - 1)  # a dense index is below `table` anyway
        total = total + entries.index_select(0, index) * (weights[0][i] * weights[1][j] * weights[2][k])
    return total
