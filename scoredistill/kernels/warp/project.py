"""Projection of 3D Gaussians in warp: the fast twin of `kernels/project.py`.

The gradient is warp's automatic derivative of `project_one`, the function that both kernels call.
"""

# pyright: reportInvalidTypeForm=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from typing import Any, no_type_check

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from scoredistill.camera import Cameras
from scoredistill.kernels import types
from scoredistill.kernels.backend import launch

NEAR = wp.constant(types.NEAR)
LOW_PASS = wp.constant(types.LOW_PASS)

Footprint = wp.types.vector(length=6, dtype=wp.float32)
"""Mean (2), conic (3) and depth of a projected Gaussian."""


@wp.func
@no_type_check
def project_one(
    mean: wp.vec3,
    stds: wp.vec3,
    rotation: wp.vec4,
    view_rotation: wp.mat33,
    position: wp.vec3,
    lens: wp.vec3,
    center: wp.vec2,
) -> Footprint:
    """The footprint of one Gaussian in one view.

    `view_rotation` maps world to camera; `lens` holds the focal length and the limits of |u| and |v|.
    """
    local = view_rotation @ (mean - position)
    depth = local[2]
    z = wp.where(depth > NEAR, depth, 1.0)
    u = local[0] / z
    v = local[1] / z
    zoom = lens[0] / z
    q = wp.normalize(rotation)
    w = q[0]
    x = q[1]
    y = q[2]
    t = q[3]
    axes = wp.mat33(
        (1.0 - 2.0 * (y * y + t * t)) * stds[0],
        2.0 * (x * y - w * t) * stds[1],
        2.0 * (x * t + w * y) * stds[2],
        2.0 * (x * y + w * t) * stds[0],
        (1.0 - 2.0 * (x * x + t * t)) * stds[1],
        2.0 * (y * t - w * x) * stds[2],
        2.0 * (x * t - w * y) * stds[0],
        2.0 * (y * t + w * x) * stds[1],
        (1.0 - 2.0 * (x * x + y * y)) * stds[2],
    )
    rotated = view_rotation @ axes
    forward = wp.vec3(rotated[2, 0], rotated[2, 1], rotated[2, 2])
    across = zoom * (wp.vec3(rotated[0, 0], rotated[0, 1], rotated[0, 2]) - wp.clamp(u, -lens[1], lens[1]) * forward)
    down = zoom * (wp.vec3(rotated[1, 0], rotated[1, 1], rotated[1, 2]) - wp.clamp(v, -lens[2], lens[2]) * forward)
    xx = wp.dot(across, across) + LOW_PASS
    yy = wp.dot(down, down) + LOW_PASS
    xy = wp.dot(across, down)
    determinant = xx * yy - xy * xy
    scale = 1.0 / wp.where(determinant > 0.0, determinant, wp.float32(wp.inf))
    return Footprint(lens[0] * u + center[0], lens[0] * v + center[1], yy * scale, -xy * scale, xx * scale, depth)


@wp.func
@no_type_check
def weighted_footprint(
    mean: wp.vec3,
    stds: wp.vec3,
    rotation: wp.vec4,
    view_rotation: wp.mat33,
    position: wp.vec3,
    lens: wp.vec3,
    center: wp.vec2,
    grad_output: Footprint,
) -> wp.float32:  # `float` would not compile: warp 1.19 seeds the derivative with a bare float(1)
    """A scalar whose gradient with respect to the Gaussian is the vector-Jacobian product of its footprint."""
    return wp.dot(project_one(mean, stds, rotation, view_rotation, position, lens, center), grad_output)


@wp.kernel(enable_backward=False)
@no_type_check
def project_all(
    first: int,
    mean: wp.array[wp.vec3],
    stds: wp.array[wp.vec3],
    rotation: wp.array[wp.vec4],
    view_rotation: wp.array[wp.mat33],
    position: wp.array[wp.vec3],
    lens: wp.array[wp.vec3],
    center: wp.vec2,
    flat_mean: wp.array2d[wp.vec2],
    conic: wp.array2d[wp.vec3],
    depth: wp.array2d[float],
):
    """Project one Gaussian to all views."""
    i = first + wp.tid()
    for view in range(view_rotation.shape[0]):
        f = project_one(mean[i], stds[i], rotation[i], view_rotation[view], position[view], lens[view], center)
        flat_mean[view, i] = wp.vec2(f[0], f[1])
        conic[view, i] = wp.vec3(f[2], f[3], f[4])
        depth[view, i] = f[5]


@wp.kernel(enable_backward=False)
@no_type_check
def project_gradient(
    first: int,
    mean: wp.array[wp.vec3],
    stds: wp.array[wp.vec3],
    rotation: wp.array[wp.vec4],
    view_rotation: wp.array[wp.mat33],
    position: wp.array[wp.vec3],
    lens: wp.array[wp.vec3],
    center: wp.vec2,
    grad_out_mean: wp.array2d[wp.vec2],
    grad_out_conic: wp.array2d[wp.vec3],
    grad_out_depth: wp.array2d[float],
    grad_mean: wp.array[wp.vec3],
    grad_stds: wp.array[wp.vec3],
    grad_rotation: wp.array[wp.vec4],
):
    """The gradient of one Gaussian, summed over all views in one thread, so that no other thread writes to it."""
    i = first + wp.tid()
    sum_mean = wp.vec3()
    sum_stds = wp.vec3()
    sum_rotation = wp.vec4()
    for view in range(view_rotation.shape[0]):
        a = grad_out_mean[view, i]
        b = grad_out_conic[view, i]
        grad_output = Footprint(a[0], a[1], b[0], b[1], b[2], grad_out_depth[view, i])
        dm, ds, dr, _turn, _position, _lens, _center, _grad = wp.grad(weighted_footprint)(
            mean[i], stds[i], rotation[i], view_rotation[view], position[view], lens[view], center, grad_output
        )
        sum_mean += dm
        sum_stds += ds
        sum_rotation += dr
    grad_mean[i] = sum_mean
    grad_stds[i] = sum_stds
    grad_rotation[i] = sum_rotation


class Project(torch.autograd.Function):
    """`project_all` and `project_gradient` as one differentiable function."""

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, stds: Tensor, rotation: Tensor, cameras: Cameras
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = (len(cameras), len(mean))
        footprints = mean.new_empty(*shape, 2), mean.new_empty(*shape, 3), mean.new_empty(shape)
        ctx.views = _views(cameras)
        ctx.save_for_backward(mean, stds, rotation)
        launch(project_all, len(mean), [mean, stds, rotation, *ctx.views, *footprints], mean.device)
        return footprints

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gaussians = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in gaussians]
        grads = tuple(tensor.contiguous() for tensor in grads)
        arguments = [*gaussians, *ctx.views, *grads, *gradients]
        launch(project_gradient, len(gaussians[0]), arguments, gaussians[0].device)
        return *gradients, None


def project(mean: Tensor, stds: Tensor, rotation: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, conic and depth of `types.Footprints`, in float32, on a CPU or on CUDA."""
    return Project.apply(mean.contiguous(), stds.contiguous(), rotation.contiguous(), cameras)


def _views(cameras: Cameras) -> list[Any]:
    """World-to-camera rotation, position and lens of each view, and the image center."""
    view_rotation, position = cameras.c2w[:, :3, :3].transpose(1, 2).contiguous(), cameras.c2w[:, :3, 3].contiguous()
    tangent = torch.tan(0.5 * cameras.fov)
    limit = types.MARGIN * tangent
    lens = torch.stack([0.5 * cameras.height / tangent, limit * (cameras.width / cameras.height), limit], -1)
    return [view_rotation, position, lens, wp.vec2(0.5 * cameras.width, 0.5 * cameras.height)]
