"""Compositing along rays: the emission-absorption model, over packed samples.

M samples of R rays, packed ray after ray, front to back   C channels
density  per unit length; optical depth density * dz of an interval
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.kernels.march import Samples


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
