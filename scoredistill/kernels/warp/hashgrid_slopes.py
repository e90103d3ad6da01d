"""The hash grid's slopes: the gradient of its interpolation to the points, and the gradients of that.

The alphabet is `hashgrid_native`'s; `features` holds the gradient of the features, `along` [N] that of the slopes.
Kernels that write to points take all levels of a block.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false
# (kernels are written in warp's language, which only looks like Python)

from __future__ import annotations

from typing import no_type_check

import warp as wp

from scoredistill.kernels.warp.hashgrid_native import EDGES, LOCATE, Entries, Levels, Planes, Vectors

wp.set_module_options({"enable_backward": False})

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
