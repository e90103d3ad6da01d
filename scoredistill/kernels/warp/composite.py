"""The fast twin of `kernels.composite`: one thread a ray, so that no two of them write the same number.

R rays   M samples   `ends`: number of samples up to and with each ray   `solid` a_i = 1 - exp(-density_i dz_i)
`light` that reaches a sample: T_0 = 1, w_i = T_i a_i, T_{i+1} = T_i - w_i
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# (kernels are written in warp's language, which only looks like Python)

from __future__ import annotations

from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels import composite
from scoredistill.kernels.backend import by_reference, launch
from scoredistill.kernels.march import Samples

wp.set_module_options({"enable_backward": False})

FAINT = wp.constant(float(torch.finfo(torch.float32).tiny ** 0.5))
"""Least opacity that means are divided by."""


@wp.func
@no_type_check
def begin_of(ends: wp.array[wp.int64], ray: int):
    if ray == 0:
        return 0
    return int(ends[ray - 1])


@wp.kernel
@no_type_check
def forward(
    first: int,
    solid: wp.array[float],
    albedo: wp.array[wp.vec3],
    z: wp.array[float],
    ends: wp.array[wp.int64],
    weight: wp.array[float],
    color: wp.array[wp.vec3],
    opacity: wp.array[float],
    depth: wp.array[float],
    variance: wp.array[float],
    middle: wp.array[wp.int64],
):
    """The fields of `Composite`."""
    ray = first + wp.tid()
    begin = begin_of(ends, ray)
    end = int(ends[ray])
    light = wp.float32(1.0)
    total = wp.float32(0.0)
    far = wp.float32(0.0)
    seen = wp.vec3()
    for i in range(begin, end):
        w = light * solid[i]
        weight[i] = w
        light -= w
        total += w
        far += w * z[i]
        seen += w * albedo[i]
    share = 1.0 / wp.max(total, FAINT)
    mean = far * share
    spread = wp.float32(0.0)
    reached = wp.float32(0.0)
    half = wp.int64(-1)
    for i in range(begin, end):
        w = weight[i]
        spread += w * (z[i] - mean) * (z[i] - mean)
        after = reached + w
        if reached < 0.5 * total and after >= 0.5 * total:
            half = wp.int64(i)
        reached = after
    color[ray] = seen
    opacity[ray] = total
    depth[ray] = mean
    variance[ray] = spread * share
    middle[ray] = half


@wp.kernel
@no_type_check
def backward(
    first: int,
    weight: wp.array[float],
    albedo: wp.array[wp.vec3],
    z: wp.array[float],
    dz: wp.array[float],
    ends: wp.array[wp.int64],
    opacity: wp.array[float],
    depth: wp.array[float],
    variance: wp.array[float],
    on_weight: wp.array[float],
    on_color: wp.array[wp.vec3],
    on_opacity: wp.array[float],
    on_depth: wp.array[float],
    on_variance: wp.array[float],
    to_density: wp.array[float],
    to_albedo: wp.array[wp.vec3],
):
    """With h_i the gradient on w_i, that on density_i is dz_i (T_{i+1} h_i - sum_{j>i} w_j h_j).

    The gradient on w_i itself, d depth / d w_i = (z_i - depth) / opacity, and
    d variance / d w_i = ((z_i - depth)^2 - variance) / opacity make h_i.
    """
    ray = first + wp.tid()
    begin = begin_of(ends, ray)
    end = int(ends[ray])
    share = 1.0 / wp.max(opacity[ray], FAINT)
    by_depth = on_depth[ray] * share
    by_variance = on_variance[ray] * share
    behind = wp.float32(0.0)
    for i in range(begin, end):
        away = z[i] - depth[ray]
        h = on_weight[i] + wp.dot(on_color[ray], albedo[i]) + on_opacity[ray]
        h += by_depth * away + by_variance * (away * away - variance[ray])
        to_density[i] = h
        behind += weight[i] * h
        to_albedo[i] = weight[i] * on_color[ray]
    light = wp.float32(1.0)
    for i in range(begin, end):
        h = to_density[i]
        light -= weight[i]
        behind -= weight[i] * h
        to_density[i] = dz[i] * (light * h - behind)


class Along(torch.autograd.Function):
    """`kernels.composite.composite` as a tuple; a second derivative is the reference's."""

    @staticmethod
    def forward(
        ctx: Any, density: Float[Tensor, "M"], albedo: Float[Tensor, "M 3"], samples: Samples, rays: int
    ) -> tuple[Tensor, ...]:
        albedo, z, dz = albedo.contiguous(), samples.z.contiguous(), samples.dz.contiguous()
        solid = -torch.expm1(-density * dz)
        ends = torch.bincount(samples.ray, minlength=rays).cumsum(0)
        weight, color = torch.empty_like(solid), albedo.new_empty(rays, 3)
        opacity, depth, variance = (albedo.new_empty(rays) for _ in range(3))
        made = (weight, color, opacity, depth, variance, torch.empty_like(ends))
        launch(forward, rays, [solid, albedo, z, ends, *made], albedo.device, least=256)
        ctx.save_for_backward(density, albedo, z, dz, ends, weight, opacity, depth, variance)
        ctx.samples, ctx.rays = samples, rays
        ctx.mark_non_differentiable(made[-1])
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        density, albedo, z, dz, ends, weight, opacity, depth, variance = ctx.saved_tensors
        if torch.is_grad_enabled():

            def again(density: Tensor, albedo: Tensor) -> tuple[Tensor, ...]:
                return tuple(vars(composite.reference(density, albedo, ctx.samples, ctx.rays)).values())[:-1]

            to_density, to_albedo = by_reference(again, (density, albedo), grads[:-1])
            return to_density, to_albedo, None, None
        found = torch.empty_like(weight), torch.empty_like(albedo)
        grads = tuple(grad.contiguous() for grad in grads[:-1])
        known = [weight, albedo, z, dz, ends, opacity, depth, variance]
        launch(backward, ctx.rays, [*known, *grads, *found], albedo.device, least=256)
        return *found, None, None
