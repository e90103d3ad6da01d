"""The fast twin of `kernels.march`: count the samples of each ray, sum the counts, write the samples.

R rays, one thread for each   M samples   `cells`: 1 where occupied
`box`: lower and upper corner of the smallest box around all occupied cells
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoredistill.kernels.backend import launch
from scoredistill.kernels.types import Samples

wp.set_module_options({"enable_backward": False})

TINY = wp.constant(float(torch.finfo(torch.float32).tiny))
"""Replaces a zero component of a direction, so that its inverse is finite."""


@wp.func
@no_type_check
def span(origin: wp.vec3, direction: wp.vec3, low: wp.vec3, high: wp.vec3):
    """Distances at which a ray enters and leaves a box; see `kernels.march.box_span`."""
    enter = wp.float32(0.0)
    leave = wp.float32(wp.inf)
    for axis in range(3):
        along = direction[axis]
        if wp.abs(along) < TINY:
            along = TINY
        first = (low[axis] - origin[axis]) / along
        second = (high[axis] - origin[axis]) / along
        enter = wp.max(enter, wp.min(first, second))
        leave = wp.min(leave, wp.max(first, second))
    return wp.vec2(enter, leave)


WALK = """
#ifdef __CUDA_ARCH__
    const int W = 1;
#else
    const int W = 32;  // steps per iteration: two of the widest registers
#endif
    const wp::int64 place = fill && number > 0 ? ends.data[number - 1] : 0;
    int found = 0;
    for (int begin = 0; begin < count; begin += W) {
        wp::float32 middle[W], length[W];
        int at[W];
        for (int j = 0; j < W; ++j) {
            const wp::float32 low = start + step * (begin + j);
            const wp::float32 left = wp::max(low, whole[0]), right = wp::min(low + step, whole[1]);
            middle[j] = 0.5f * (left + right);
            length[j] = right - left;
            at[j] = 0;
            for (int axis = 0; axis < 3; ++axis) {
                const int cell = (int)(origin[axis] + middle[j] * direction[axis]);
                at[j] = at[j] * size + wp::min(wp::max(cell, 0), size - 1);
            }
        }
        const int width = wp::min(W, count - begin);
        if (fill) {
            for (int j = 0; j < width; ++j) {
                if (length[j] > 0.f && cells.data[at[j]]) {
                    ray.data[place + found] = number;
                    z.data[place + found] = middle[j];
                    dz.data[place + found] = length[j];
                    ++found;
                }
            }
        } else {
            for (int j = 0; j < width; ++j) {
                found += length[j] > 0.f && cells.data[at[j]];
            }
        }
    }
    if (!fill) {
        ends.data[number] = found;
    }
"""
"""March along one ray, whose origin and direction are in units of cells; native code, which clang vectorizes."""


SELECT = """
    const wp::int64 from = index.data[i], number = ray.data[from];
    const wp::vec3 along = z.data[from] * directions.data[number];
    to_ray.data[i] = number;
    to_z.data[i] = z.data[from];
    to_dz.data[i] = dz.data[from];
    points.data[i] = origins.data[number] + along;
"""
"""Copy a sample and compute its midpoint, in one pass; native code, since warp's arrays count in 32 bits."""

Vectors, Floats, Integers = wp.array[wp.vec3], wp.array[float], wp.array[wp.int64]


@wp.func_native(SELECT)
@no_type_check
def select_one(
    i: int,
    index: Integers,
    origins: Vectors,
    directions: Vectors,
    ray: Integers,
    z: Floats,
    dz: Floats,
    to_ray: Integers,
    to_z: Floats,
    to_dz: Floats,
    points: Vectors,
): ...


@wp.kernel
@no_type_check
def select_each(
    first: int,
    index: Integers,
    origins: Vectors,
    directions: Vectors,
    ray: Integers,
    z: Floats,
    dz: Floats,
    to_ray: Integers,
    to_z: Floats,
    to_dz: Floats,
    points: Vectors,
):
    select_one(first + wp.tid(), index, origins, directions, ray, z, dz, to_ray, to_z, to_dz, points)


@wp.func_native(WALK)
@no_type_check
def walk(
    origin: wp.vec3,
    direction: wp.vec3,
    start: float,
    step: float,
    whole: wp.vec2,
    count: int,
    cells: wp.array[wp.uint8],
    size: int,
    number: int,
    fill: bool,
    ends: wp.array[wp.int64],
    ray: wp.array[wp.int64],
    z: wp.array[float],
    dz: wp.array[float],
): ...


@wp.kernel
@no_type_check
def visit(
    first: int,
    origins: wp.array[wp.vec3],
    directions: wp.array[wp.vec3],
    shift: wp.array[float],
    box: wp.array[wp.vec3],
    cells: wp.array[wp.uint8],
    size: int,
    bounds: float,
    step: float,
    fill: bool,
    ends: wp.array[wp.int64],
    ray: wp.array[wp.int64],
    z: wp.array[float],
    dz: wp.array[float],
):
    """Count a ray's samples into `ends`; or, with `fill`, write them so that they end at index `ends`."""
    r = first + wp.tid()
    origin = origins[r]
    direction = directions[r]
    whole = span(origin, direction, wp.vec3(-bounds), wp.vec3(bounds))
    part = span(origin, direction, box[0], box[1])
    if part[1] <= part[0]:
        return
    anchor = whole[0] - step * shift[r]
    begin = wp.max(wp.floor((part[0] - anchor) / step), 0.0)
    count = int(wp.ceil((part[1] - anchor) / step) - begin)
    start = anchor + step * begin
    scale = float(size) / (2.0 * bounds)
    origin = (origin + wp.vec3(bounds)) * scale  # in units of cells from here on
    direction = direction * scale
    walk(origin, direction, start, step, whole, count, cells, size, r, fill, ends, ray, z, dz)


def march(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    occupied: Bool[Tensor, "G G G"],
    box: Float[Tensor, "2 3"],
    bounds: float,
    step: float,
    shift: Float[Tensor, "R"] | None = None,
) -> Samples:
    """`kernels.march.march` in float32; `box` encloses all occupied cells."""
    rays = len(origins)
    inputs = [
        origins.contiguous(),
        directions.contiguous(),
        origins.new_zeros(rays) if shift is None else shift,
        box,
        occupied.view(torch.uint8).flatten(),
        len(occupied),
        bounds,
        step,
    ]
    counts = torch.zeros(rays, dtype=torch.int64, device=origins.device)
    empty = Samples(counts[:0], origins.new_zeros(0), origins.new_zeros(0))
    launch(visit, rays, [*inputs, False, counts, *vars(empty).values()], origins.device, min_slice=256)
    ends = counts.cumsum(0)
    total = int(ends[-1]) if rays else 0
    samples = Samples(counts.new_empty(total), origins.new_empty(total), origins.new_empty(total))
    launch(visit, rays, [*inputs, True, ends, *vars(samples).values()], origins.device, min_slice=256)
    return samples


def select(
    samples: Samples, index: Int[Tensor, "S"], origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"]
) -> tuple[Samples, Float[Tensor, "S 3"]]:
    """`kernels.march.select` in float32."""
    chosen = Samples(*(values.new_empty(len(index)) for values in vars(samples).values()))
    points = origins.new_empty(len(index), 3)
    inputs = [index, origins.contiguous(), directions.contiguous(), *vars(samples).values()]
    launch(select_each, len(index), [*inputs, *vars(chosen).values(), points], origins.device)
    return chosen, points
