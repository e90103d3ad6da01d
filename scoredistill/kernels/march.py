"""Ray marching through a box with an occupancy grid: the intervals of each ray that may contain density.

R rays   M samples of all rays, packed ray after ray, front to back   G cells along a side of the grid
z        distance along the ray; the ray is origin + z direction, direction of unit length
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.types import Samples

__all__ = ["Samples", "box_span", "lookup", "march", "occupied_box", "reference", "select"]


def box_span(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
    """Distances at which rays enter and leave the box [low, high], from their origins on; enter >= leave: no hit."""
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
    """Intervals of length `step` with occupied midpoints, from the point where rays enter [-bounds, bounds]^3.

    `shift` in [0, 1) moves the intervals of a ray towards the camera by that fraction of a step (stratified sampling).
    The first and the last interval end at the box: the lengths of a fully occupied ray sum to its chord.
    """
    if backend.use_warp(origins, directions):
        from scoredistill.kernels.warp import march as warp

        box = torch.stack(occupied_box(occupied, bounds, origins))
        return warp.march(origins, directions, occupied, box, bounds, step, shift)
    return reference(origins, directions, occupied, bounds, step, shift)


def select(
    samples: Samples, index: Int[Tensor, "S"], origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"]
) -> tuple[Samples, Float[Tensor, "S 3"]]:
    """The samples of these indices, and the midpoints of their intervals in world coordinates."""
    if backend.use_warp(origins, directions, samples.z):
        from scoredistill.kernels.warp import march as warp

        return warp.select(samples, index, origins, directions)
    chosen = samples[index]
    return chosen, chosen.points(origins, directions)


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
    selected = (dz > 0) & lookup(occupied, bounds, origins[hit], directions[hit], z)
    ray = hit[selected.nonzero()[:, 0]]
    return Samples(ray, z[selected], dz[selected])


def _cube(like: Tensor, bounds: float) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Lower and upper corner of [-bounds, bounds]^3."""
    corner = torch.full((3,), bounds, dtype=like.dtype, device=like.device)
    return -corner, corner


def occupied_box(
    occupied: Bool[Tensor, "G G G"], bounds: float, like: Tensor
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Lower and upper corner of the smallest box around all occupied cells; swapped if there are none."""
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
    """Whether the point at each distance lies in an occupied cell; axis by axis, which is twice as fast."""
    size = occupied.shape[0]
    scale = size / (2 * bounds)
    index = torch.zeros((), dtype=torch.int32, device=z.device)
    for axis in range(3):
        cell = torch.addcmul((origins[:, axis, None] + bounds) * scale, z, directions[:, axis, None] * scale)
        index = index * size + cell.int().clamp(0, size - 1)
    return occupied.flatten().index_select(0, index.flatten()).view_as(z)
