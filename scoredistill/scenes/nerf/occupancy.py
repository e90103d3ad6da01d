"""Occupied cells of a cube, so that rays skip empty space (Mueller et al. 2022; nerfacc).

G cells along a side   a cell's value: the optical depth of one ray step there
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoredistill.contracts import Field
from scoredistill.kernels.march import lookup


class OccupancyGrid(nn.Module):
    """A decaying maximum of density * step in each of G^3 cells of the cube [-bounds, bounds]^3."""

    depth: Float[Tensor, "G G G"]

    def __init__(self, size: int, bounds: float, step: float, decay: float = 0.95, threshold: float = 0.01) -> None:
        """`step` is the length of a ray's step, `decay` the factor on a cell at an update; defaults of nerfacc 0.5.2.

        At `threshold` .01, half a percent of the initial blob's image is omitted.
        """
        super().__init__()
        self.size, self.bounds, self.step, self.decay, self.threshold = size, bounds, step, decay, threshold
        self.register_buffer("depth", torch.zeros(size, size, size))

    def occupied(self) -> Bool[Tensor, "G G G"]:
        """Cells worth sampling: value above min(mean, threshold)."""
        return self.depth > self.depth.mean().clamp(max=self.threshold)

    @torch.no_grad()
    def update(self, density: Callable[[Tensor], Tensor], rng: torch.Generator, *, everywhere: bool) -> None:
        """Evaluate every cell, or a random quarter and as many occupied ones, at one random point each."""
        cells = self.depth.numel()
        index = torch.arange(cells) if everywhere else self._some(cells // 4, rng)
        corner = torch.stack(torch.unravel_index(index, self.depth.shape), -1)
        point = corner + torch.rand(len(index), 3, generator=rng)
        point = (point * (2 * self.bounds / self.size) - self.bounds).to(self.depth)
        index = index.to(self.depth.device)
        flat = self.depth.view(-1)
        flat[index] = torch.maximum(self.decay * flat[index], density(point) * self.step)

    def _some(self, count: int, rng: torch.Generator) -> Int[Tensor, "S"]:
        anywhere = torch.randint(self.depth.numel(), (count,), generator=rng)
        occupied = self.occupied().flatten().nonzero()[:, 0].cpu()
        if len(occupied) > count:
            occupied = occupied[torch.randint(len(occupied), (count,), generator=rng)]
        return torch.cat([anywhere, occupied]).unique()  # written twice, a cell would depend on the order


def inside(occupied: Bool[Tensor, "G G G"], bounds: float, points: Float[Tensor, "N 3"]) -> Int[Tensor, "S"]:
    """The indices of the points that lie in occupied cells."""
    zero = torch.zeros_like(points)  # a point is a ray of length zero
    return lookup(occupied, bounds, points, zero, zero[:, :1])[:, 0].nonzero()[:, 0]


@dataclass(frozen=True)
class VisibleField:
    """A field without the density that no ray samples: what is never rendered is never optimized either."""

    field: Field
    occupied: Bool[Tensor, "G G G"]

    @property
    def bounds(self) -> float:
        """Half the side of the cube."""
        return self.field.bounds

    def density(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """The field's density in occupied cells, 0 elsewhere."""
        index = inside(self.occupied, self.bounds, points)
        density = torch.zeros_like(points[:, 0])
        return density.index_copy(0, index, self.field.density(points[index]).to(density)) if len(index) else density

    def color(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """The field's albedo."""
        return self.field.color(points)
