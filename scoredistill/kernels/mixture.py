"""Sums of 3-D Gaussians at points, each only where it reaches.

N Gaussians of mean, whitening (to units of standard deviations along its own axes) and C values   P points
G cells along a side of the cube [-bounds, bounds]^3   I pairs of a cell and a Gaussian that reaches into it
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.kernels import backend

CELLS = 32
REACH = 3.0
"""Standard deviations at which a Gaussian ends; there it is a ninetieth of what it is at its centre."""
CHANNELS = 4
CHUNK = 1 << 12
"""Points at a time in the reference: with a hundred Gaussians each, some 20 MB."""


@dataclass(frozen=True)
class Mixture:
    """N Gaussians, sorted into cells."""

    means: Float[Tensor, "N 3"]
    whiten: Float[Tensor, "N 3 3"]
    values: Float[Tensor, "N 4"]
    near: Int[Tensor, "I"]  # Gaussians, cell after cell
    start: Int[Tensor, "S"]  # S = G^3 + 1: first pair of each cell, and the number of pairs
    bounds: float


def mixture(
    means: Float[Tensor, "N 3"], axes: Float[Tensor, "N 3 3"], values: Float[Tensor, "N 4"], bounds: float
) -> Mixture:
    """Gaussians with the columns of `axes` as own axes, as long as the standard deviations."""
    half = REACH * axes.norm(dim=-1)  # of the box around the ellipsoid
    first, last = cell(means - half, bounds), cell(means + half, bounds)
    spans = last - first + 1
    counts = spans.prod(-1)
    splat = torch.repeat_interleave(torch.arange(len(means), device=means.device), counts)
    rank = torch.arange(len(splat), device=means.device) - (counts.cumsum(0) - counts)[splat]
    high, deep = spans[splat, 1], spans[splat, 2]
    place = first[splat] + torch.stack([rank // deep // high, rank // deep % high, rank % deep], -1)
    ordered, order = ((place[:, 0] * CELLS + place[:, 1]) * CELLS + place[:, 2]).sort(stable=True)
    start = torch.searchsorted(ordered, torch.arange(CELLS**3 + 1, device=means.device), out_int32=True)
    return Mixture(means, torch.linalg.inv(axes), values, splat[order].int(), start, bounds)


def cell(points: Float[Tensor, "P 3"], bounds: float) -> Int[Tensor, "P 3"]:
    """The cell of each point along each axis; points outside belong to the cells at the walls."""
    return ((points / bounds + 1) * (0.5 * CELLS)).floor().long().clamp(0, CELLS - 1)


def evaluate(blobs: Mixture, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
    """sum_i values_i exp(-q_i / 2), q_i = |whiten_i (x - mean_i)|^2, over the Gaussians with q_i < REACH^2.

    Without gradients.
    """
    if backend.fast(points, blobs.means):
        from scoredistill.kernels.warp.mixture import evaluate as fast

        return fast(blobs, points)
    return torch.cat([reference(blobs, chunk) for chunk in points.split(CHUNK)])


@torch.no_grad()
def reference(blobs: Mixture, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
    """`evaluate` in plain torch, all pairs at once."""
    x, y, z = cell(points, blobs.bounds).unbind(-1)
    here = (x * CELLS + y) * CELLS + z
    begin = blobs.start[here].long()
    counts = blobs.start[here + 1] - begin
    point = torch.repeat_interleave(torch.arange(len(points), device=points.device), counts)
    rank = torch.arange(len(point), device=points.device) - (counts.cumsum(0) - counts)[point]
    splat = blobs.near[begin[point] + rank].long()
    q = (blobs.whiten[splat] @ (points[point] - blobs.means[splat])[..., None]).square().sum((1, 2))
    weight = torch.exp(-0.5 * q).where(q < REACH**2, 0)
    total = torch.zeros(len(points), CHANNELS, dtype=points.dtype, device=points.device)
    return total.index_add(0, point, weight[:, None] * blobs.values[splat])
