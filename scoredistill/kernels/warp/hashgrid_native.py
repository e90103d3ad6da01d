"""The hash grid's kernels: interpolation, its gradients to the table and to the points, and the gradients of those.

N points   L active levels   `levels`: resolution, first entry, and vertices along a side (0 where hashed) of each
`features` are planes [2L N]: a level reads and writes without gaps.

A kernel index is one level and one block of points: a whole level after the other, so that its table stays in the
cache; kernels that write to points take all levels of a block. The inner loops are native code, of which clang makes
vector instructions; loops in warp's own language stay scalar, which takes more than twice as long.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false
# (kernels are written in warp's language, which only looks like Python)

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
EDGES = """
        for (int j = 0; j < width; ++j) {
            const pair whole = {even[start + j], odd[start + j]};
            const pair far = high[2][j] * whole, near = whole - far;
            const pair far_up = high[1][j] * far, near_up = high[1][j] * near;
            const pair edge[4] = {near - near_up, near_up, far - far_up, far_up};
"""
"""Opens the loop over what each point gives to the four edges of its cell."""

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
RISES = """
        const auto dot = [](pair a, pair b) { return a[0] * b[0] + a[1] * b[1]; };
        wp::float32 found[3][W];
        for (int j = 0; j < width; ++j) {
            const pair weight = {even[start + j], odd[start + j]};
            const wp::float32 y = high[1][j], z = high[2][j];
            pair edge[4], rise[4];
            for (int k = 0; k < 4; ++k) {
                const pair left = entries[at[2 * k][j]];
                rise[k] = entries[at[2 * k + 1][j]] - left;
                edge[k] = left + high[0][j] * rise[k];
            }
            const pair near_xy = rise[1] - rise[0], far_xy = rise[3] - rise[2];
            const pair near_x = rise[0] + y * near_xy, far_x = rise[2] + y * far_xy;
            const pair near_y = edge[1] - edge[0], far_y = edge[3] - edge[2];
            const pair low_z = edge[2] - edge[0], high_z = edge[3] - edge[1];
            const pair dx = near_x + z * (far_x - near_x), dy = near_y + z * (far_y - near_y);
            const pair dz = low_z + y * (high_z - low_z);
"""
"""Opens the loop over each point's weight and the slopes of its two features, in cells; `found` takes the results."""

SLOPE = (
    RISES
    + """
            found[0][j] = dot(weight, dx);
            found[1][j] = dot(weight, dy);
            found[2][j] = dot(weight, dz);
        }
        for (int j = 0; j < width; ++j) {
            slopes.data[start + j] += (wp::float32)resolution * wp::vec3(found[0][j], found[1][j], found[2][j]);
        }
    }
"""
)
TURN = (
    RISES
    + """
            const wp::vec3 u = (wp::float32)resolution * along.data[start + j];
            const pair turned = u[0] * dx + u[1] * dy + u[2] * dz;
            turns.data[2 * level * count + start + j] = turned[0];
            turns.data[(2 * level + 1) * count + start + j] = turned[1];
            const pair near_xz = rise[2] - rise[0], up_xz = rise[3] - rise[1];
            const wp::float32 xy = dot(weight, near_xy + z * (far_xy - near_xy));
            const wp::float32 xz = dot(weight, near_xz + y * (up_xz - near_xz));
            const wp::float32 yz = dot(weight, far_y - near_y);
            found[0][j] = xy * u[1] + xz * u[2];
            found[1][j] = xy * u[0] + yz * u[2];
            found[2][j] = xz * u[0] + yz * u[1];
        }
        for (int j = 0; j < width; ++j) {
            bends.data[start + j] += (wp::float32)resolution * wp::vec3(found[0][j], found[1][j], found[2][j]);
        }
    }
"""
)
"""The change of the features with the points, and that of the slopes: only mixed second derivatives are not zero."""

SPREAD = (
    EDGES
    + """
            const wp::vec3 u = (wp::float32)resolution * along.data[start + j];
            const pair d_far = u[2] * whole;
            const pair d_far_up = u[1] * far + high[1][j] * d_far, d_near_up = u[1] * near - high[1][j] * d_far;
            const pair d_edge[4] = {-1.f * d_far - d_near_up, d_near_up, d_far - d_far_up, d_far_up};
            for (int k = 0; k < 4; ++k) {
                const pair d_right = u[0] * edge[k] + high[0][j] * d_edge[k];
                add(entries + at[2 * k][j], d_edge[k] - d_right);
                add(entries + at[2 * k + 1][j], d_right);
            }
        }
    }
"""
)
"""The change of what SCATTER adds, with the points."""

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


@wp.func_native(LOCATE + SLOPE)
@no_type_check
def slope(
    index: int,
    points: Vectors,
    table: Entries,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    slopes: Vectors,
): ...


@wp.kernel
@no_type_check
def interpolate(
    first: int, points: Vectors, table: Entries, levels: Levels, mask: wp.uint32, block: int, features: Planes
):
    gather(first + wp.tid(), points, table, levels, mask, block, features)


@wp.kernel
@no_type_check
def to_table(
    first: int, points: Vectors, levels: Levels, mask: wp.uint32, block: int, features: Planes, table: Entries
):
    scatter(first + wp.tid(), points, levels, mask, block, features, table)


@wp.kernel
@no_type_check
def to_points(
    first: int,
    points: Vectors,
    table: Entries,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    slopes: Vectors,
):
    blocks = (points.shape[0] + block - 1) / block
    for level in range(levels.shape[0]):
        slope(level * blocks + first + wp.tid(), points, table, levels, mask, block, features, slopes)


@wp.func_native(LOCATE + TURN)
@no_type_check
def turn(
    index: int,
    points: Vectors,
    table: Entries,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    along: Vectors,
    turns: Planes,
    bends: Vectors,
): ...


@wp.func_native(LOCATE + SPREAD)
@no_type_check
def spread(
    index: int,
    points: Vectors,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    along: Vectors,
    table: Entries,
): ...


@wp.kernel
@no_type_check
def turn_points(
    first: int,
    points: Vectors,
    table: Entries,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    along: Vectors,
    turns: Planes,
    bends: Vectors,
):
    blocks = (points.shape[0] + block - 1) / block
    for level in range(levels.shape[0]):
        turn(level * blocks + first + wp.tid(), points, table, levels, mask, block, features, along, turns, bends)


@wp.kernel
@no_type_check
def slopes_to_table(
    first: int,
    points: Vectors,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    along: Vectors,
    table: Entries,
):
    spread(first + wp.tid(), points, levels, mask, block, features, along, table)
