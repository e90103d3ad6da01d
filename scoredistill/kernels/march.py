"""Ray marching through a box with an occupancy grid: where along each ray there may be something to see.

R rays   M samples of all rays, packed ray after ray, front to back   G cells along a side of the grid
z        distance along the ray; the ray is origin + z direction, direction of unit length
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoredistill.kernels import backend


@dataclass(frozen=True)
class Samples:
    """Packed samples: interval [z - dz/2, z + dz/2] of ray number `ray`."""

    ray: Int[Tensor, "M"]
    z: Float[Tensor, "M"]
    dz: Float[Tensor, "M"]

    def __len__(self) -> int:
        return len(self.ray)

    def __getitem__(self, index: Int[Tensor, "S"]) -> Samples:
        return Samples(*(values.index_select(0, index) for values in (self.ray, self.z, self.dz)))

    def points(self, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"]) -> Float[Tensor, "M 3"]:
        """Midpoints of the intervals, in world coordinates."""
        return origins.index_select(0, self.ray) + self.z[:, None] * directions.index_select(0, self.ray)

    def starts(self, rays: int) -> Int[Tensor, "R"]:
        """Index of each ray's first sample (of the next ray's, where it has none)."""
        counts = torch.bincount(self.ray, minlength=rays)
        return counts.cumsum(0) - counts

    def rank(self, rays: int) -> Int[Tensor, "M"]:
        """Number of each sample along its ray, from 0."""
        return torch.arange(len(self), device=self.ray.device) - self.starts(rays)[self.ray]


def box_span(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
    """Where rays enter and leave the box [low, high], from their origin on; enter >= leave: missed."""
    tiny = torch.finfo(directions.dtype).tiny
    inverse = 1 / torch.where(directions.abs() < tiny, tiny, directions)
    first, second = (low - origins) * inverse, (high - origins) * inverse
    enter = torch.minimum(first, second).amax(-1).clamp(min=0)
    leave = torch.maximum(first, second).amin(-1)
    return enter, leave


def march(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    occupied: Bool[Tensor, "G G G"],
    bounds: float,
    step: float,
    shift: Float[Tensor, "R"] | None = None,
) -> Samples:
    """Intervals of length `step`, from where rays enter [-bounds, bounds]^3, with occupied midpoints.

    `shift` in [0, 1) moves a ray's intervals towards the camera by that part of a step (stratified sampling).
    The first and the last interval end at the box: the lengths of a fully occupied ray sum to its chord.
    """
    if backend.fast(origins, directions):
        from scoredistill.kernels.warp.march import march as twin

        return twin(origins, directions, occupied, bounds, step, shift)
    return reference(origins, directions, occupied, bounds, step, shift)


def reference(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    occupied: Bool[Tensor, "G G G"],
    bounds: float,
    step: float,
    shift: Float[Tensor, "R"] | None = None,
) -> Samples:
    """`march` in plain torch."""
    enter, leave = box_span(origins, directions, *_cube(origins, bounds))
    near, far = box_span(origins, directions, *occupied_box(occupied, bounds, origins))
    hit = (far > near).nonzero()[:, 0]
    if not len(hit):
        return Samples(hit, near[hit], near[hit])
    anchor = enter if shift is None else enter - step * shift
    first = torch.floor((near - anchor) / step).clamp(min=0)
    longest = int((torch.ceil((far - anchor) / step) - first)[hit].max())
    start, enter, leave = (values[hit, None] for values in (anchor + step * first, enter, leave))
    left = start + step * torch.arange(longest, device=start.device, dtype=start.dtype)  # [hits, longest]
    right = torch.minimum(left + step, leave)
    left = torch.maximum(left, enter)
    z, dz = (left + right) / 2, right - left
    keep = (dz > 0) & lookup(occupied, bounds, origins[hit], directions[hit], z)
    ray = hit[keep.nonzero()[:, 0]]
    return Samples(ray, z[keep], dz[keep])


def _cube(like: Tensor, bounds: float) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    corner = torch.full((3,), bounds, dtype=like.dtype, device=like.device)
    return -corner, corner


def occupied_box(
    occupied: Bool[Tensor, "G G G"], bounds: float, like: Tensor
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """The smallest box around all occupied cells; inside out where there are none."""
    size = occupied.shape[0]
    cells = occupied.nonzero()
    if not len(cells):
        low, high = _cube(like, bounds)
        return high, low
    edges = torch.stack([cells.amin(0), cells.amax(0) + 1]).to(like.dtype)
    low, high = edges * (2 * bounds / size) - bounds
    return low, high


def lookup(
    occupied: Bool[Tensor, "G G G"],
    bounds: float,
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    z: Float[Tensor, "R K"],
) -> Bool[Tensor, "R K"]:
    """Whether the point at each distance lies in an occupied cell; by axis, which is twice as fast."""
    size = occupied.shape[0]
    scale = size / (2 * bounds)
    index = torch.zeros((), dtype=torch.int32, device=z.device)
    for axis in range(3):
        cell = torch.addcmul((origins[:, axis, None] + bounds) * scale, z, directions[:, axis, None] * scale)
        index = index * size + cell.int().clamp(0, size - 1)
    return occupied.flatten().index_select(0, index.flatten()).view_as(z)
