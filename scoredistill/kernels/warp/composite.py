"""The fast twin of `kernels.composite`: one thread per ray, so that no two threads write to the same element.

R rays   M samples   `ends`: number of samples up to the end of each ray   `alpha` a_i = 1 - exp(-density_i dz_i)
`light`, the transmittance in front of a sample: T_0 = 1, w_i = T_i a_i, T_{i+1} = T_i - w_i
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels.backend import launch, reference_gradients
from scoredistill.kernels.types import Samples

wp.set_module_options({"enable_backward": False})

MIN_OPACITY = wp.constant(float(torch.finfo(torch.float32).tiny ** 0.5))
"""Smallest opacity by which means are divided."""

RAY_SPAN = """
    const int begin = ray ? ends.data[ray - 1] : 0, end = ends.data[ray];
"""
"""The samples of a ray. In native code, since the index arithmetic of warp's arrays takes as long as the sums."""

FORWARD = """
    wp::float32 light = 1, total = 0, depth_sum = 0;
    wp::vec3 rgb;
    for (int i = begin; i < end; ++i) {
        const wp::float32 w = light * alpha.data[i];
        weight.data[i] = w;
        light *= 1 - alpha.data[i];
        total += w;
        depth_sum += w * z.data[i];
        rgb += w * albedo.data[i];
    }
    const wp::float32 inverse = 1 / wp::max(total, min_opacity), mean = depth_sum * inverse, half = total / 2;
    wp::float32 spread = 0, reached = 0;
    wp::int64 middle_one = -1;
    for (int i = begin; i < end; ++i) {
        const wp::float32 w = weight.data[i], offset = z.data[i] - mean, after = reached + w;
        spread += w * offset * offset;
        middle_one = reached < half && after >= half ? i : middle_one;
        reached = after;
    }
    color.data[ray] = rgb;
    opacity.data[ray] = total;
    depth.data[ray] = mean;
    variance.data[ray] = spread * inverse;
    middle.data[ray] = middle_one;
"""

BACKWARD = """
    const wp::float32 inverse = 1 / wp::max(opacity.data[ray], min_opacity), mean = depth.data[ray];
    const wp::float32 d_depth = grad_depth.data[ray] * inverse, d_variance = grad_variance.data[ray] * inverse;
    const wp::float32 constant = grad_opacity.data[ray] - d_variance * variance.data[ray];
    const wp::vec3 d_color = grad_color.data[ray];
    wp::float32 behind = 0;
    for (int i = begin; i < end; ++i) {
        const wp::float32 offset = z.data[i] - mean, w = weight.data[i];
        const wp::float32 h = grad_weight.data[i] + wp::dot(d_color, albedo.data[i]) + constant
            + (d_depth + d_variance * offset) * offset;
        grad_density.data[i] = h;
        behind += w * h;
        grad_albedo.data[i] = w * d_color;
    }
    wp::float32 light = 1;
    for (int i = begin; i < end; ++i) {
        const wp::float32 h = grad_density.data[i], w = weight.data[i];
        light -= w;
        behind -= w * h;
        grad_density.data[i] = dz.data[i] * (light * h - behind);
    }
"""


@wp.func_native(RAY_SPAN + FORWARD)
@no_type_check
def composite_ray(
    ray: int,
    min_opacity: float,
    alpha: wp.array[float],
    albedo: wp.array[wp.vec3],
    z: wp.array[float],
    ends: wp.array[wp.int64],
    weight: wp.array[float],
    color: wp.array[wp.vec3],
    opacity: wp.array[float],
    depth: wp.array[float],
    variance: wp.array[float],
    middle: wp.array[wp.int64],
): ...


@wp.func_native(RAY_SPAN + BACKWARD)
@no_type_check
def composite_ray_backward(
    ray: int,
    min_opacity: float,
    weight: wp.array[float],
    albedo: wp.array[wp.vec3],
    z: wp.array[float],
    dz: wp.array[float],
    ends: wp.array[wp.int64],
    opacity: wp.array[float],
    depth: wp.array[float],
    variance: wp.array[float],
    grad_weight: wp.array[float],
    grad_color: wp.array[wp.vec3],
    grad_opacity: wp.array[float],
    grad_depth: wp.array[float],
    grad_variance: wp.array[float],
    grad_density: wp.array[float],
    grad_albedo: wp.array[wp.vec3],
): ...


@wp.kernel
@no_type_check
def forward(
    first: int,
    alpha: wp.array[float],
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
    """Compute the fields of `Composite` for one ray."""
    composite_ray(
        first + wp.tid(), MIN_OPACITY, alpha, albedo, z, ends, weight, color, opacity, depth, variance, middle
    )


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
    grad_weight: wp.array[float],
    grad_color: wp.array[wp.vec3],
    grad_opacity: wp.array[float],
    grad_depth: wp.array[float],
    grad_variance: wp.array[float],
    grad_density: wp.array[float],
    grad_albedo: wp.array[wp.vec3],
):
    """With h_i the total gradient with respect to w_i, that with respect to density_i is

    dz_i (T_{i+1} h_i - sum_{j>i} w_j h_j).

    h_i sums the gradient given for w_i and those through color, opacity, depth and variance, where
    d depth / d w_i = (z_i - depth) / opacity and d variance / d w_i = ((z_i - depth)^2 - variance) / opacity.
    """
    composite_ray_backward(
        first + wp.tid(),
        MIN_OPACITY,
        weight,
        albedo,
        z,
        dz,
        ends,
        opacity,
        depth,
        variance,
        grad_weight,
        grad_color,
        grad_opacity,
        grad_depth,
        grad_variance,
        grad_density,
        grad_albedo,
    )


class CompositeFunction(torch.autograd.Function):
    """`kernels.composite.composite` as a tuple of the fields of `Composite`.

    `reference` computes the differentiable fields in torch; second derivatives use it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        density: Float[Tensor, "M"],
        albedo: Float[Tensor, "M 3"],
        samples: Samples,
        rays: int,
        reference: Callable[[Tensor, Tensor, Samples, int], tuple[Tensor, ...]],
    ) -> tuple[Tensor, ...]:
        albedo, z, dz = albedo.contiguous(), samples.z.contiguous(), samples.dz.contiguous()
        alpha = -torch.expm1(-density * dz)
        ends = torch.bincount(samples.ray, minlength=rays).cumsum(0)
        weight, color = torch.empty_like(alpha), albedo.new_empty(rays, 3)
        opacity, depth, variance = (albedo.new_empty(rays) for _ in range(3))
        outputs = (weight, color, opacity, depth, variance, torch.empty_like(ends))
        launch(forward, rays, [alpha, albedo, z, ends, *outputs], albedo.device, min_slice=256)
        ctx.save_for_backward(density, albedo, z, dz, ends, weight, opacity, depth, variance)
        ctx.samples, ctx.rays, ctx.reference = samples, rays, reference
        ctx.mark_non_differentiable(outputs[-1])
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        density, albedo, z, dz, ends, weight, opacity, depth, variance = ctx.saved_tensors
        if torch.is_grad_enabled():

            def again(density: Tensor, albedo: Tensor) -> tuple[Tensor, ...]:
                return ctx.reference(density, albedo, ctx.samples, ctx.rays)

            return *reference_gradients(again, (density, albedo), grads[:-1]), None, None, None
        gradients = torch.empty_like(weight), torch.empty_like(albedo)
        grads = tuple(grad.contiguous() for grad in grads[:-1])
        inputs = [weight, albedo, z, dz, ends, opacity, depth, variance]
        launch(backward, ctx.rays, [*inputs, *grads, *gradients], albedo.device, min_slice=256)
        return *gradients, None, None, None
