"""Hash-grid kernels for the gradient of the interpolation with respect to its points, and for its own gradients.

Letters as in `hashgrid_native`; `features` holds the gradient with respect to the features, `grad_gradient` [N] that
with respect to the input gradient. Kernels that write to points process all levels of a block.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from typing import no_type_check

import warp as wp

from scoredistill.kernels.warp.hashgrid_native import EDGES, LOCATE, Entries, Levels, Planes, Vectors

wp.set_module_options({"enable_backward": False})

DERIVATIVES = """
        const auto dot = [](pair a, pair b) { return a[0] * b[0] + a[1] * b[1]; };
        wp::float32 found[3][W];
        for (int j = 0; j < width; ++j) {
            const pair weight = {even[start + j], odd[start + j]};
            const wp::float32 y = high[1][j], z = high[2][j];
            pair edge[4], delta[4];
            for (int k = 0; k < 4; ++k) {
                const pair left = entries[at[2 * k][j]];
                delta[k] = entries[at[2 * k + 1][j]] - left;
                edge[k] = left + high[0][j] * delta[k];
            }
            const pair near_xy = delta[1] - delta[0], far_xy = delta[3] - delta[2];
            const pair near_x = delta[0] + y * near_xy, far_x = delta[2] + y * far_xy;
            const pair near_y = edge[1] - edge[0], far_y = edge[3] - edge[2];
            const pair low_z = edge[2] - edge[0], high_z = edge[3] - edge[1];
            const pair dx = near_x + z * (far_x - near_x), dy = near_y + z * (far_y - near_y);
            const pair dz = low_z + y * (high_z - low_z);
"""
"""Opens the loop over points: the weight of each, and the derivatives dx, dy, dz of its two features, per cell.

`found` collects the results.
"""

INPUT_GRADIENT = (
    DERIVATIVES
    + """
            found[0][j] = dot(weight, dx);
            found[1][j] = dot(weight, dy);
            found[2][j] = dot(weight, dz);
        }
        for (int j = 0; j < width; ++j) {
            gradient.data[start + j] += (wp::float32)resolution * wp::vec3(found[0][j], found[1][j], found[2][j]);
        }
    }
"""
)
SECOND_DERIVATIVES = (
    DERIVATIVES
    + """
            const wp::vec3 u = (wp::float32)resolution * grad_gradient.data[start + j];
            const pair change = u[0] * dx + u[1] * dy + u[2] * dz;
            to_features.data[2 * level * count + start + j] = change[0];
            to_features.data[(2 * level + 1) * count + start + j] = change[1];
            const pair near_xz = delta[2] - delta[0], up_xz = delta[3] - delta[1];
            const wp::float32 xy = dot(weight, near_xy + z * (far_xy - near_xy));
            const wp::float32 xz = dot(weight, near_xz + y * (up_xz - near_xz));
            const wp::float32 yz = dot(weight, far_y - near_y);
            found[0][j] = xy * u[1] + xz * u[2];
            found[1][j] = xy * u[0] + yz * u[2];
            found[2][j] = xz * u[0] + yz * u[1];
        }
        for (int j = 0; j < width; ++j) {
            to_points.data[start + j] += (wp::float32)resolution * wp::vec3(found[0][j], found[1][j], found[2][j]);
        }
    }
"""
)
"""Derivatives of the input gradient with respect to the gradient of the features, and to the points.

Only mixed second derivatives of a trilinear interpolation are nonzero.
"""

TABLE_DERIVATIVES = (
    EDGES
    + """
            const wp::vec3 u = (wp::float32)resolution * grad_gradient.data[start + j];
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
"""The derivative with respect to the points of the gradient that SCATTER adds to the table."""


@wp.func_native(LOCATE + INPUT_GRADIENT)
@no_type_check
def block_input_gradient(
    index: int,
    points: Vectors,
    table: Entries,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    gradient: Vectors,
): ...


@wp.func_native(LOCATE + SECOND_DERIVATIVES)
@no_type_check
def block_second_derivatives(
    index: int,
    points: Vectors,
    table: Entries,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    grad_gradient: Vectors,
    to_features: Planes,
    to_points: Vectors,
): ...


@wp.func_native(LOCATE + TABLE_DERIVATIVES)
@no_type_check
def block_table_derivatives(
    index: int,
    points: Vectors,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    grad_gradient: Vectors,
    table: Entries,
): ...


@wp.kernel
@no_type_check
def points_gradient(
    first: int,
    points: Vectors,
    table: Entries,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    gradient: Vectors,
):
    blocks = (points.shape[0] + block - 1) / block
    for level in range(levels.shape[0]):
        index = level * blocks + first + wp.tid()
        block_input_gradient(index, points, table, levels, mask, block, features, gradient)


@wp.kernel
@no_type_check
def second_derivatives(
    first: int,
    points: Vectors,
    table: Entries,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    grad_gradient: Vectors,
    to_features: Planes,
    to_points: Vectors,
):
    blocks = (points.shape[0] + block - 1) / block
    for level in range(levels.shape[0]):
        index = level * blocks + first + wp.tid()
        block_second_derivatives(
            index, points, table, levels, mask, block, features, grad_gradient, to_features, to_points
        )


@wp.kernel
@no_type_check
def table_derivatives(
    first: int,
    points: Vectors,
    levels: Levels,
    mask: wp.uint32,
    block: int,
    features: Planes,
    grad_gradient: Vectors,
    table: Entries,
):
    block_table_derivatives(first + wp.tid(), points, levels, mask, block, features, grad_gradient, table)
