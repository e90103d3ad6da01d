"""Projection of 3-D Gaussians in warp: the fast twin of `kernels/project.py`.

The gradient is warp's own derivative of the one function that both kernels call.
"""

# pyright: reportInvalidTypeForm=false, reportOperatorIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# (kernels are written in warp's language, which only looks like Python)

from __future__ import annotations

from typing import Any, no_type_check

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from scoredistill.camera import Cameras
from scoredistill.kernels import project as constants
from scoredistill.kernels.backend import launch

NEAR = wp.constant(constants.NEAR)
LOW_PASS = wp.constant(constants.LOW_PASS)

Footprint = wp.types.vector(length=6, dtype=wp.float32)
"""Mean (2), conic (3) and depth of a projected Gaussian."""


@wp.func
@no_type_check
def project_one(
    mean: wp.vec3, stds: wp.vec3, rotation: wp.vec4, turn: wp.mat33, position: wp.vec3, lens: wp.vec3, centre: wp.vec2
) -> Footprint:
    """`turn` is world to camera; `lens` holds the focal length and the limits of |u| and |v|."""
    local = turn @ (mean - position)
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
    turned = turn @ axes
    towards = wp.vec3(turned[2, 0], turned[2, 1], turned[2, 2])
    across = zoom * (wp.vec3(turned[0, 0], turned[0, 1], turned[0, 2]) - wp.clamp(u, -lens[1], lens[1]) * towards)
    down = zoom * (wp.vec3(turned[1, 0], turned[1, 1], turned[1, 2]) - wp.clamp(v, -lens[2], lens[2]) * towards)
    xx = wp.dot(across, across) + LOW_PASS
    yy = wp.dot(down, down) + LOW_PASS
    xy = wp.dot(across, down)
    scale = 1.0 / (xx * yy - xy * xy)
    return Footprint(lens[0] * u + centre[0], lens[0] * v + centre[1], yy * scale, -xy * scale, xx * scale, depth)


@wp.func
@no_type_check
def pulled(
    mean: wp.vec3,
    stds: wp.vec3,
    rotation: wp.vec4,
    turn: wp.mat33,
    position: wp.vec3,
    lens: wp.vec3,
    centre: wp.vec2,
    pull: Footprint,
) -> wp.float32:  # `float` would not compile: warp 1.19 seeds the derivative with a bare float(1)
    """A number whose gradient by a Gaussian is that of its footprint, pulled back."""
    return wp.dot(project_one(mean, stds, rotation, turn, position, lens, centre), pull)


@wp.kernel(enable_backward=False)
@no_type_check
def project_all(
    first: int,
    mean: wp.array[wp.vec3],
    stds: wp.array[wp.vec3],
    rotation: wp.array[wp.vec4],
    turn: wp.array[wp.mat33],
    position: wp.array[wp.vec3],
    lens: wp.array[wp.vec3],
    centre: wp.vec2,
    flat_mean: wp.array2d[wp.vec2],
    conic: wp.array2d[wp.vec3],
    depth: wp.array2d[float],
):
    """One Gaussian in all views."""
    i = first + wp.tid()
    for view in range(turn.shape[0]):
        f = project_one(mean[i], stds[i], rotation[i], turn[view], position[view], lens[view], centre)
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
    turn: wp.array[wp.mat33],
    position: wp.array[wp.vec3],
    lens: wp.array[wp.vec3],
    centre: wp.vec2,
    pull_mean: wp.array2d[wp.vec2],
    pull_conic: wp.array2d[wp.vec3],
    pull_depth: wp.array2d[float],
    grad_mean: wp.array[wp.vec3],
    grad_stds: wp.array[wp.vec3],
    grad_rotation: wp.array[wp.vec4],
):
    """One Gaussian in all views, which therefore no other thread adds to."""
    i = first + wp.tid()
    by_mean = wp.vec3()
    by_stds = wp.vec3()
    by_rotation = wp.vec4()
    for view in range(turn.shape[0]):
        a = pull_mean[view, i]
        b = pull_conic[view, i]
        pull = Footprint(a[0], a[1], b[0], b[1], b[2], pull_depth[view, i])
        dm, ds, dr, _turn, _position, _lens, _centre, _pull = wp.grad(pulled)(
            mean[i], stds[i], rotation[i], turn[view], position[view], lens[view], centre, pull
        )
        by_mean += dm
        by_stds += ds
        by_rotation += dr
    grad_mean[i] = by_mean
    grad_stds[i] = by_stds
    grad_rotation[i] = by_rotation


class Project(torch.autograd.Function):
    """The two kernels as one differentiable function."""

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
    def backward(ctx: Any, *pull: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gaussians = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in gaussians]
        pulls = [tensor.contiguous() for tensor in pull]
        arguments = [*gaussians, *ctx.views, *pulls, *gradients]
        launch(project_gradient, len(gaussians[0]), arguments, gaussians[0].device)
        return *gradients, None


def project(mean: Tensor, stds: Tensor, rotation: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, conic and depth as in `kernels.project.Footprints`, in float32, on a CPU or on CUDA."""
    return Project.apply(mean.contiguous(), stds.contiguous(), rotation.contiguous(), cameras)


def _views(cameras: Cameras) -> list[Any]:
    """World to camera, position, lens and centre of each view."""
    turn, position = cameras.c2w[:, :3, :3].transpose(1, 2).contiguous(), cameras.c2w[:, :3, 3].contiguous()
    tangent = torch.tan(0.5 * cameras.fov)
    limit = constants.MARGIN * tangent
    lens = torch.stack([0.5 * cameras.height / tangent, limit * (cameras.width / cameras.height), limit], -1)
    return [turn, position, lens, wp.vec2(0.5 * cameras.width, 0.5 * cameras.height)]
