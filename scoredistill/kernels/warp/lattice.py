"""The fast twin of `kernels.lattice`: one thread for each ray, which reads colors only where there is density."""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels.backend import launch
from scoredistill.kernels.types import Lattice
from scoredistill.kernels.warp.march import span

wp.set_module_options({"enable_backward": False})

COMPOSITE = """
    const int row = nz * 8, plane = ny * row;
    auto look = [&](float z, float* found) {
        float part[3];
        int at = 0;
        const int sides[3] = {1, ny, nz};
        for (int axis = 0; axis < 3; ++axis) {
            const float place = start[axis] + z * stride[axis];
            const float corner = wp::min(wp::max(wp::floor(place), 0.f), last[axis]);
            part[axis] = wp::min(wp::max(place - corner, 0.f), 1.f);
            at = at * sides[axis] + (int)corner;
        }
        const float* corner = values.data + at * 8;
        const float x = part[0], y = part[1];
        const float w00 = (1.f - x) * (1.f - y), w01 = (1.f - x) * y, w10 = x * (1.f - y), w11 = x * y;
        for (int c = 0; c < 8; ++c) {
            const float near = w00 * corner[c] + w01 * corner[row + c] + w10 * corner[plane + c]
                + w11 * corner[plane + row + c];
            const float far = w00 * corner[8 + c] + w01 * corner[row + 8 + c] + w10 * corner[plane + 8 + c]
                + w11 * corner[plane + row + 8 + c];
            found[c] = near + part[2] * (far - near);
        }
    };
    auto unit = [](const float* v) {
        return 1.f / wp::sqrt(wp::max(v[0] * v[0] + v[1] * v[1] + v[2] * v[2], 1e-24f));
    };
    float left = 1.f, sum = 0.f, v[8];
    wp::vec3 albedo, normal;
    for (int i = 0; i < count && left > 1e-4f; ++i) {
        const float z = (i + 0.5f) * step;
        look(z, v);
        if (v[0] <= 0.f) continue;
        const float weight = left * (1.f - wp::exp(-v[0] * wp::min(step, length - i * step)));
        left -= weight;
        sum += weight * z;
        const float color = weight / v[0], facing = weight * unit(v + 4);
        for (int c = 0; c < 3; ++c) {
            albedo[c] += color * v[1 + c];
            normal[c] += facing * v[4 + c];
        }
    }
    const float opacity = 1.f - left;
    albedos.data[number] = albedo;
    normals.data[number] = normal;
    opacities.data[number] = opacity;
    depths.data[number] = opacity > 0.f ? enter + sum / opacity : 0.f;
"""
"""Composite one ray, in units of cells, until 1e-4 of the light is left; native code, which clang vectorizes."""


@wp.func_native(COMPOSITE)
@no_type_check
def composite(
    start: wp.vec3,
    stride: wp.vec3,
    last: wp.vec3,
    enter: float,
    length: float,
    step: float,
    count: int,
    values: wp.array[float],
    ny: int,
    nz: int,
    number: int,
    albedos: wp.array[wp.vec3],
    opacities: wp.array[float],
    depths: wp.array[float],
    normals: wp.array[wp.vec3],
): ...


@wp.kernel
@no_type_check
def visit(
    first: int,
    origins: wp.array[wp.vec3],
    directions: wp.array[wp.vec3],
    box: wp.array[wp.vec3],
    last: wp.array[wp.vec3],
    values: wp.array[float],
    ny: int,
    nz: int,
    per_unit: float,
    step: float,
    albedos: wp.array[wp.vec3],
    opacities: wp.array[float],
    depths: wp.array[float],
    normals: wp.array[wp.vec3],
):
    """Enter the lattice by one ray and composite what is in it."""
    r = first + wp.tid()
    whole = span(origins[r], directions[r], box[0], box[1])
    if whole[1] <= whole[0]:
        return
    length = whole[1] - whole[0]
    start = (origins[r] + whole[0] * directions[r] - box[0]) * per_unit
    stride = directions[r] * per_unit
    count = int(wp.ceil(length / step))
    composite(
        start,
        stride,
        last[0],
        whole[0],
        length,
        step,
        count,
        values,
        ny,
        nz,
        r,
        albedos,
        opacities,
        depths,
        normals,
    )


@torch.no_grad()
def render_lattice(
    lattice: Lattice, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], step: float
) -> tuple[Tensor, ...]:
    """`kernels.lattice.render_lattice` in float32: the fields of its result, in order."""
    nx, ny, nz = lattice.values.shape[:3]
    outputs = [torch.zeros_like(each) for each in (origins, origins[:, 0], origins[:, 0], origins)]
    last = origins.new_tensor([[nx - 2, ny - 2, nz - 2]])
    inputs = [origins.contiguous(), directions.contiguous(), torch.stack([lattice.low, lattice.high])]
    inputs += [last, lattice.values.flatten(), ny, nz, 1 / lattice.cell, step]
    launch(visit, len(origins), [*inputs, *outputs], origins.device, min_slice=256)
    return tuple(outputs)
