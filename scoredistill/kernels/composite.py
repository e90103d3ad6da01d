"""Compositing along rays: the emission-absorption model, over packed samples.

M samples of R rays, packed ray after ray, front to back   C channels
density  per unit length; density * dz is the optical depth of an interval
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.types import Samples


@dataclass(frozen=True)
class Composite:
    """Composites along rays; all zero for a ray that meets nothing."""

    weight: Float[Tensor, "M"]  # w_i of each sample
    albedo: Float[Tensor, "R 3"]  # sum_i w_i albedo_i
    opacity: Float[Tensor, "R"]  # sum_i w_i
    depth: Float[Tensor, "R"]  # mean z, weighted by w_i
    z_variance: Float[Tensor, "R"]  # variance of z, weighted by w_i
    middle: Int[Tensor, "R"]  # the sample at which half of the opacity is reached; -1 for none


def composite(density: Float[Tensor, "M"], albedo: Float[Tensor, "M 3"], samples: Samples, rays: int) -> Composite:
    """Composite density and albedo along rays (see `weights`); differentiable in both."""
    if backend.use_warp(density, albedo, samples.z):
        from scoredistill.kernels.warp.composite import CompositeFunction

        return Composite(*CompositeFunction.apply(density, albedo, samples, rays, _reference_outputs))
    return reference(density, albedo, samples, rays)


def reference(density: Float[Tensor, "M"], albedo: Float[Tensor, "M 3"], samples: Samples, rays: int) -> Composite:
    """`composite` in plain torch."""
    weight = weights(density, samples, rays)
    values = torch.cat([albedo, torch.ones_like(albedo[:, :1]), samples.z[:, None]], 1)
    sums = accumulate(weight, values, samples.ray, rays)
    opacity = sums[:, 3]
    inverse = 1 / opacity.clamp(min=torch.finfo(opacity.dtype).tiny ** 0.5)
    depth = sums[:, 4] * inverse
    deviation = (samples.z - depth.index_select(0, samples.ray)) ** 2
    variance = accumulate(weight, deviation[:, None], samples.ray, rays)[:, 0] * inverse
    return Composite(weight, sums[:, :3], opacity, depth, variance, _middle(weight.detach(), samples, rays))


def _reference_outputs(density: Tensor, albedo: Tensor, samples: Samples, rays: int) -> tuple[Tensor, ...]:
    """The differentiable fields of the reference's `Composite`, in order."""
    return tuple(vars(reference(density, albedo, samples, rays)).values())[:-1]


def weights(density: Float[Tensor, "M"], samples: Samples, rays: int) -> Float[Tensor, "M"]:
    """w_i = T_i (1 - exp(-density_i dz_i)), T_i = exp(-sum_{j<i} density_j dz_j).

    The emission-absorption quadrature of Max 1995 and Mildenhall et al. 2020, eq. 3.

    Exact for densities that are constant on each interval. The sums run over all rays at once, in float64: a
    difference of two of them has an absolute error below 1e-8 for a million samples of depth ten.
    """
    if not len(samples):
        return density
    depth = (density * samples.dz).double()
    before = depth.cumsum(0) - depth
    start = samples.starts(rays)[samples.ray]
    passed = before - before.index_select(0, start)
    return (torch.exp(-passed) * -torch.expm1(-depth)).to(density.dtype)


def accumulate(
    weight: Float[Tensor, "M"], values: Float[Tensor, "M C"], ray: Int[Tensor, "M"], rays: int
) -> Float[Tensor, "R C"]:
    """sum_i w_i values_i along each ray; 0 for rays without samples."""
    total = torch.zeros(rays, values.shape[1], dtype=values.dtype, device=values.device)
    return total.index_add(0, ray, weight[:, None] * values)


def _middle(weight: Float[Tensor, "M"], samples: Samples, rays: int) -> Int[Tensor, "R"]:
    """The sample of each ray at which half of its total weight is reached; -1 if the total is 0."""
    after = weight.double().cumsum(0)
    before = torch.cat([after.new_zeros(1), after])  # [M + 1]; before[i + 1] is after[i], exactly
    last = torch.bincount(samples.ray, minlength=rays).cumsum(0)
    begin, end = before[samples.starts(rays)], before[last]
    half = ((begin + end) / 2)[samples.ray]
    index = ((before[:-1] < half) & (after >= half)).nonzero()[:, 0]
    return torch.full_like(last, -1).index_copy(0, samples.ray[index], index)
