"""Sums of 3D Gaussians at points, each Gaussian cut off at `REACH` standard deviations.

N Gaussians of mean, whitening (to units of standard deviations along its own axes) and C values   P points
G cells along a side of the cube [-bounds, bounds]^3   I pairs of a cell and a Gaussian that reaches into it
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.types import CELLS, MIXTURE_CHANNELS, REACH, Mixture

__all__ = ["CELLS", "REACH", "Mixture", "cell", "evaluate", "mixture", "reference"]

CHUNK = 1 << 12
"""Points per batch of the reference: about 20 MB with a hundred Gaussians for each."""


def mixture(
    means: Float[Tensor, "N 3"], axes: Float[Tensor, "N 3 3"], values: Float[Tensor, "N 4"], bounds: float
) -> Mixture:
    """Gaussians whose own axes are the columns of `axes`, of the lengths of the standard deviations."""
    half = REACH * axes.norm(dim=-1)  # half sides of the box around the ellipsoid
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
    """The cell of each point along each axis; points outside belong to the outermost cells."""
    return ((points / bounds + 1) * (0.5 * CELLS)).floor().long().clamp(0, CELLS - 1)


def evaluate(gaussians: Mixture, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
    """sum_i values_i exp(-q_i / 2), q_i = |whiten_i (x - mean_i)|^2, over the Gaussians with q_i < REACH^2.

    Without gradients.
    """
    if backend.use_warp(points, gaussians.means):
        from scoredistill.kernels.warp import mixture as warp

        return warp.evaluate(gaussians, points)
    return torch.cat([reference(gaussians, chunk) for chunk in points.split(CHUNK)])


@torch.no_grad()
def reference(gaussians: Mixture, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
    """`evaluate` in plain torch, all pairs at once."""
    x, y, z = cell(points, gaussians.bounds).unbind(-1)
    here = (x * CELLS + y) * CELLS + z
    begin = gaussians.start[here].long()
    counts = gaussians.start[here + 1] - begin
    point = torch.repeat_interleave(torch.arange(len(points), device=points.device), counts)
    rank = torch.arange(len(point), device=points.device) - (counts.cumsum(0) - counts)[point]
    splat = gaussians.near[begin[point] + rank].long()
    q = (gaussians.whiten[splat] @ (points[point] - gaussians.means[splat])[..., None]).square().sum((1, 2))
    weight = torch.exp(-0.5 * q).where(q < REACH**2, 0)
    total = torch.zeros(len(points), MIXTURE_CHANNELS, dtype=points.dtype, device=points.device)
    return total.index_add(0, point, weight[:, None] * gaussians.values[splat])
