"""The fast twin of `kernels.hashgrid`: interpolation, and its gradients to the table and to the points.

N points   L active levels   `levels`: resolution, first entry, and vertices along a side (0 where hashed) of each
`features` are planes [2L N], which torch sees as the columns of [N 2L]: a level reads and writes without gaps.

A kernel index is one level and one block of points: a whole level after the other, so that its table stays in the
cache. The inner loops are native code, of which clang makes vector instructions; loops in warp's own language stay
scalar, which takes more than twice as long.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false
# (kernels are written in warp's language, which only looks like Python)

from __future__ import annotations

import functools
import itertools
from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.kernels.backend import by_reference, launch
from scoredistill.kernels.hashgrid import GridLayout, reference

wp.set_module_options({"enable_backward": False})

BLOCK = 1024
"""Points of a block on a CPU: what a level costs to set up is forgotten; on a GPU each point has its own thread."""

LOCATE = """
#ifdef __CUDA_ARCH__
    const int W = 1;
    typedef wp::vec2 pair;
    const auto add = [](pair* to, pair value) { wp::atomic_add(to, value); };
#else
    const int W = 64;  // points at a time: four of the widest registers
    typedef float pair __attribute__((ext_vector_type(2)));  // one register, where a wp::vec2 may become two
    const auto add = [](pair* to, pair value) { *to += value; };  // no two threads meet in a level
#endif
    const int blocks = (points.shape[0] + block - 1) / block;
    const int level = index / blocks;
    const int begin = (index - level * blocks) * block;
    const int end = wp::min(begin + block, points.shape[0]);
    const int resolution = levels.data[3 * level];
    const wp::uint32 offset = levels.data[3 * level + 1], side = levels.data[3 * level + 2];
    const bool dense = side > 0;
    const wp::uint32 strides[3] = {1u, dense ? side : 2654435761u, dense ? side * side : 805459861u};
    const size_t count = points.shape[0];
    wp::float32 *even = features.data + 2 * level * count, *odd = even + count;
    wp::float32 high[3][W];
    wp::uint32 at[8][W];
    pair* entries = (pair*)table.data;
    for (int start = begin; start < end; start += W) {
        const int width = wp::min(W, end - start);
        for (int j = 0; j < width; ++j) {
            const wp::vec3 point = points.data[start + j];
            wp::uint32 near[3];
            for (int axis = 0; axis < 3; ++axis) {
                const wp::float32 position = wp::min(wp::max(point[axis], 0.f), 1.f) * resolution;
                const int cell = wp::min((int)position, resolution - 1);
                high[axis][j] = position - cell;
                near[axis] = cell * strides[axis];
            }
            for (int corner = 0; corner < 8; ++corner) {
                const wp::uint32 x = near[0] + (corner & 1 ? strides[0] : 0u);
                const wp::uint32 y = near[1] + (corner & 2 ? strides[1] : 0u);
                const wp::uint32 z = near[2] + (corner & 4 ? strides[2] : 0u);
                at[corner][j] = offset + (dense ? x + y + z : (x ^ y ^ z) & mask);
            }
        }
"""
"""Opens the loop over a block's points: entries at the corners of each one's cell, weights of the higher corners."""

GATHER = """
        for (int j = 0; j < width; ++j) {
            pair edge[4];
            for (int k = 0; k < 4; ++k) {
                const pair left = entries[at[2 * k][j]];
                edge[k] = left + high[0][j] * (entries[at[2 * k + 1][j]] - left);
            }
            const pair near = edge[0] + high[1][j] * (edge[1] - edge[0]);
            const pair far = edge[2] + high[1][j] * (edge[3] - edge[2]);
            const pair found = near + high[2][j] * (far - near);
            even[start + j] = found[0];
            odd[start + j] = found[1];
        }
    }
"""
SCATTER = """
        for (int j = 0; j < width; ++j) {
            const pair whole = {even[start + j], odd[start + j]};
            const pair far = high[2][j] * whole, near = whole - far;
            const pair far_up = high[1][j] * far, near_up = high[1][j] * near;
            const pair edge[4] = {near - near_up, near_up, far - far_up, far_up};
            for (int k = 0; k < 4; ++k) {
                const pair right = high[0][j] * edge[k];
                add(entries + at[2 * k][j], edge[k] - right);
                add(entries + at[2 * k + 1][j], right);
            }
        }
    }
"""
SLOPE = """
        const auto dot = [](pair a, pair b) { return a[0] * b[0] + a[1] * b[1]; };
        for (int j = 0; j < width; ++j) {
            const pair weight = {even[start + j], odd[start + j]};
            wp::float32 edge[4], rise[4];
            for (int k = 0; k < 4; ++k) {
                const wp::float32 left = dot(weight, entries[at[2 * k][j]]);
                rise[k] = dot(weight, entries[at[2 * k + 1][j]]) - left;
                edge[k] = left + high[0][j] * rise[k];
            }
            const wp::float32 y = high[1][j], z = high[2][j];
            const wp::float32 near = rise[0] + y * (rise[1] - rise[0]), far = rise[2] + y * (rise[3] - rise[2]);
            const wp::float32 dy = edge[1] - edge[0] + z * (edge[3] - edge[2] - edge[1] + edge[0]);
            const wp::float32 dz = edge[2] - edge[0] + y * (edge[3] - edge[1] - edge[2] + edge[0]);
            slopes.data[start + j] += (wp::float32)resolution * wp::vec3(near + z * (far - near), dy, dz);
        }
    }
"""


@wp.func_native(LOCATE + GATHER)
@no_type_check
def gather(
    index: int,
    points: wp.array[wp.vec3],
    table: wp.array[wp.vec2],
    levels: wp.array2d[int],
    mask: wp.uint32,
    block: int,
    features: wp.array2d[float],
): ...


@wp.func_native(LOCATE + SCATTER)
@no_type_check
def scatter(
    index: int,
    points: wp.array[wp.vec3],
    levels: wp.array2d[int],
    mask: wp.uint32,
    block: int,
    features: wp.array2d[float],
    table: wp.array[wp.vec2],
): ...


@wp.func_native(LOCATE + SLOPE)
@no_type_check
def slope(
    index: int,
    points: wp.array[wp.vec3],
    table: wp.array[wp.vec2],
    levels: wp.array2d[int],
    mask: wp.uint32,
    block: int,
    features: wp.array2d[float],
    slopes: wp.array[wp.vec3],
): ...


@wp.kernel
@no_type_check
def interpolate(
    first: int,
    points: wp.array[wp.vec3],
    table: wp.array[wp.vec2],
    levels: wp.array2d[int],
    mask: wp.uint32,
    block: int,
    features: wp.array2d[float],
):
    gather(first + wp.tid(), points, table, levels, mask, block, features)


@wp.kernel
@no_type_check
def to_table(
    first: int,
    points: wp.array[wp.vec3],
    levels: wp.array2d[int],
    mask: wp.uint32,
    block: int,
    features: wp.array2d[float],
    table: wp.array[wp.vec2],
):
    scatter(first + wp.tid(), points, levels, mask, block, features, table)


@wp.kernel
@no_type_check
def to_points(
    first: int,
    points: wp.array[wp.vec3],
    table: wp.array[wp.vec2],
    levels: wp.array2d[int],
    mask: wp.uint32,
    block: int,
    features: wp.array2d[float],
    slopes: wp.array[wp.vec3],
):
    blocks = (points.shape[0] + block - 1) / block
    for level in range(levels.shape[0]):
        slope(level * blocks + first + wp.tid(), points, table, levels, mask, block, features, slopes)


class Encode(torch.autograd.Function):
    """`kernels.hashgrid.encode`; a second derivative is the reference's."""

    @staticmethod
    def forward(
        ctx: Any, points: Float[Tensor, "N 3"], table: Float[Tensor, "V 2"], layout: GridLayout, active: int
    ) -> Float[Tensor, "N features"]:
        points, table = points.contiguous(), table.contiguous()
        ctx.save_for_backward(points, table)
        ctx.layout, ctx.active = layout, active
        room = torch.empty if active == layout.levels else torch.zeros
        features = room(layout.width, len(points), device=points.device)
        grid, blocks = _grid(points, layout, active)
        launch(interpolate, active * blocks, [points, table, *grid, features], points.device, least=2)
        return features.T

    @staticmethod
    def backward(ctx: Any, grad: Float[Tensor, "N features"]) -> tuple[Tensor | None, Tensor | None, None, None]:  # type: ignore[override]
        points, table = ctx.saved_tensors
        layout, active = ctx.layout, ctx.active
        if torch.is_grad_enabled():
            slopes, entries = by_reference(lambda p, v: reference(p, v, layout, active), (points, table), grad)
            return slopes, entries, None, None
        features = grad.T.contiguous()
        grid, blocks = _grid(points, layout, active)
        slopes = entries = None
        if ctx.needs_input_grad[0]:
            slopes = torch.zeros_like(points)
            launch(to_points, blocks, [points, table, *grid, features, slopes], points.device, least=2)
            slopes = slopes * ((points >= 0) & (points <= 1))  # points outside stay on the surface
        if ctx.needs_input_grad[1]:
            entries = torch.zeros_like(table)
            arguments = [points, *grid, features, entries]
            launch(to_table, active * blocks, arguments, points.device, grain=blocks)  # no two threads in one level
        return slopes, entries, None, None


def _grid(points: Float[Tensor, "N 3"], layout: GridLayout, active: int) -> tuple[list[Any], int]:
    """What a kernel must know of the grid, and the number of blocks of a level."""
    block = 1 if points.device.type == "cuda" else BLOCK
    return [_levels(layout, active, points.device), layout.table - 1, block], -(-len(points) // block)


@functools.cache
def _levels(layout: GridLayout, active: int, device: torch.device) -> Int[Tensor, "L 3"]:
    offsets = itertools.accumulate(layout.sizes, initial=0)
    rows = [
        (resolution, offset, resolution + 1 if (resolution + 1) ** 3 <= layout.table else 0)
        for resolution, offset in zip(layout.resolutions[:active], offsets, strict=False)
    ]
    return torch.tensor(rows, dtype=torch.int32, device=device).view(-1, 3)
