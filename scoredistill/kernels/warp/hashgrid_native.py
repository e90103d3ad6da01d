"""Hash-grid kernels: interpolation, and its gradient with respect to the table.

N points   L active levels   `levels`: resolution, first entry, and vertices along a side (0 if hashed) of each level
`features` are planes [2L N], so that a level reads and writes contiguous memory.

A kernel index is one level and one block of points, level by level, so that the level's table stays in the CPU cache.
The inner loops are native code, which clang vectorizes; loops in warp's own language stay scalar and take more than
twice as long.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from typing import no_type_check

import warp as wp

wp.set_module_options({"enable_backward": False})

LOCATE = """
#ifdef __CUDA_ARCH__
    const int W = 1;
    typedef wp::vec2 pair;
    const auto add = [](pair* to, pair value) { wp::atomic_add(to, value); };
#else
    const int W = 64;  // points per iteration: four of the widest registers
    typedef float pair __attribute__((ext_vector_type(2)));  // one register; a wp::vec2 may take two
    const auto add = [](pair* to, pair value) { *to += value; };  // no two threads write to one level
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
"""Opens the loop over the points of a block: table entries at the corners of each cell, weights of upper corners."""

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
EDGES = """
        for (int j = 0; j < width; ++j) {
            const pair whole = {even[start + j], odd[start + j]};
            const pair far = high[2][j] * whole, near = whole - far;
            const pair far_up = high[1][j] * far, near_up = high[1][j] * near;
            const pair edge[4] = {near - near_up, near_up, far - far_up, far_up};
"""
"""Opens the loop over the gradient that each point adds to the four x-edges of its cell."""

SCATTER = (
    EDGES
    + """            for (int k = 0; k < 4; ++k) {
                const pair right = high[0][j] * edge[k];
                add(entries + at[2 * k][j], edge[k] - right);
                add(entries + at[2 * k + 1][j], right);
            }
        }
    }
"""
)

Vectors, Entries = wp.array[wp.vec3], wp.array[wp.vec2]
Levels, Planes = wp.array2d[int], wp.array2d[float]


@wp.func_native(LOCATE + GATHER)
@no_type_check
def gather(
    index: int, points: Vectors, table: Entries, levels: Levels, mask: wp.uint32, block: int, features: Planes
): ...


@wp.func_native(LOCATE + SCATTER)
@no_type_check
def scatter(
    index: int, points: Vectors, levels: Levels, mask: wp.uint32, block: int, features: Planes, table: Entries
): ...


@wp.kernel
@no_type_check
def interpolate(
    first: int, points: Vectors, table: Entries, levels: Levels, mask: wp.uint32, block: int, features: Planes
):
    gather(first + wp.tid(), points, table, levels, mask, block, features)


@wp.kernel
@no_type_check
def interpolate_levels(
    first: int, points: Vectors, table: Entries, levels: Levels, mask: wp.uint32, block: int, features: Planes
):
    """`interpolate` on all levels of a block, one after another: levels differ in cost, blocks do not."""
    blocks = (points.shape[0] + block - 1) / block
    for level in range(levels.shape[0]):
        gather(level * blocks + first + wp.tid(), points, table, levels, mask, block, features)


@wp.kernel
@no_type_check
def table_gradient(
    first: int, points: Vectors, levels: Levels, mask: wp.uint32, block: int, features: Planes, table: Entries
):
    scatter(first + wp.tid(), points, levels, mask, block, features, table)
