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


ALONG = """
    const int begin = ray ? ends.data[ray - 1] : 0, end = ends.data[ray];
"""
"""The samples of a ray. Native code: the index arithmetic of warp's arrays would take as long as the sums."""

FORWARD = """
    wp::float32 light = 1, total = 0, far = 0;
    wp::vec3 seen;
    for (int i = begin; i < end; ++i) {
        const wp::float32 w = light * solid.data[i];
        weight.data[i] = w;
        light *= 1 - solid.data[i];
        total += w;
        far += w * z.data[i];
        seen += w * albedo.data[i];
    }
    const wp::float32 share = 1 / wp::max(total, faint), mean = far * share, half = total / 2;
    wp::float32 spread = 0, reached = 0;
    wp::int64 middle_one = -1;
    for (int i = begin; i < end; ++i) {
        const wp::float32 w = weight.data[i], away = z.data[i] - mean, after = reached + w;
        spread += w * away * away;
        middle_one = reached < half && after >= half ? i : middle_one;
        reached = after;
    }
    color.data[ray] = seen;
    opacity.data[ray] = total;
    depth.data[ray] = mean;
    variance.data[ray] = spread * share;
    middle.data[ray] = middle_one;
"""

BACKWARD = """
    const wp::float32 share = 1 / wp::max(opacity.data[ray], faint), mean = depth.data[ray];
    const wp::float32 by_depth = on_depth.data[ray] * share, by_variance = on_variance.data[ray] * share;
    const wp::float32 always = on_opacity.data[ray] - by_variance * variance.data[ray];
    const wp::vec3 by_color = on_color.data[ray];
    wp::float32 behind = 0;
    for (int i = begin; i < end; ++i) {
        const wp::float32 away = z.data[i] - mean, w = weight.data[i];
        const wp::float32 h = on_weight.data[i] + wp::dot(by_color, albedo.data[i]) + always
            + (by_depth + by_variance * away) * away;
        to_density.data[i] = h;
        behind += w * h;
        to_albedo.data[i] = w * by_color;
    }
    wp::float32 light = 1;
    for (int i = begin; i < end; ++i) {
        const wp::float32 h = to_density.data[i], w = weight.data[i];
        light -= w;
        behind -= w * h;
        to_density.data[i] = dz.data[i] * (light * h - behind);
    }
"""


@wp.func_native(ALONG + FORWARD)
@no_type_check
def see(
    ray: int,
    faint: float,
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
): ...


@wp.func_native(ALONG + BACKWARD)
@no_type_check
def see_back(
    ray: int,
    faint: float,
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
): ...


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
    see(first + wp.tid(), FAINT, solid, albedo, z, ends, weight, color, opacity, depth, variance, middle)


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
    see_back(
        first + wp.tid(),
        FAINT,
        weight,
        albedo,
        z,
        dz,
        ends,
        opacity,
        depth,
        variance,
        on_weight,
        on_color,
        on_opacity,
        on_depth,
        on_variance,
        to_density,
        to_albedo,
    )


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
