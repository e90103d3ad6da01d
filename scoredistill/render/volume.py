"""Volume rendering of rays: density and albedo in, composited images out.

R rays   M samples   origins, directions in world coordinates, directions of unit length   z distance on a ray
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.kernels.composite import Composite, accumulate, composite
from scoredistill.kernels.march import Samples

ROUND = 8
"""Samples a ray evaluates before it is asked whether the rest is hidden: what an opaque surface needs."""
HIDDEN = 6.9
"""Optical depth behind which a ray sees less than a thousandth, a quarter of a step of 8-bit colour."""
VISIBLE = 1e-2
"""Weight (or opacity) below which a normal is not computed: its shading cannot be seen."""

NormalsAt = Literal["surface", "samples"]


@runtime_checkable
class Volume(Protocol):
    """What can be volume-rendered."""

    def evaluate(self, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
        """Density per unit length and albedo in [0, 1]."""
        ...

    def normal(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Unit vectors along which the density falls fastest."""
        ...


@dataclass(frozen=True)
class RayColors:
    """Composites along rays; all zero where a ray meets nothing."""

    albedo: Float[Tensor, "R 3"]  # sum_i w_i albedo_i
    opacity: Float[Tensor, "R"]  # sum_i w_i
    depth: Float[Tensor, "R"]  # mean z, weighted by w_i
    z_variance: Float[Tensor, "R"]  # variance of z, weighted by w_i
    normal: Float[Tensor, "R 3"]  # unit normals times weight
    orient: Float[Tensor, "R"]  # sum_i sg[w_i] max(n_i . d, 0)^2 (Verbin et al. 2022, eq. 11): facing away


def render_rays(
    volume: Volume,
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    samples: Samples,
    *,
    normals_at: NormalsAt = "surface",
) -> RayColors:
    """Composite a volume along rays (Mildenhall et al. 2020, eq. 3), differentiably.

    Normals are taken at every visible sample and composited (`samples`), or at the sample where half of the
    ray's opacity is reached, weighted with the whole of it (`surface`: a quarter of the cost).
    """
    rays = len(origins)
    samples, density, albedo = _evaluate(volume, origins, directions, samples)
    made = composite(density, albedo, samples, rays)
    index, strength = _where_normals(made, normals_at)
    seen = samples[index]
    normal = volume.normal(seen.points(origins, directions))
    away = (normal * directions[seen.ray]).sum(-1, keepdim=True).clamp(min=0) ** 2
    orient = accumulate(strength.detach(), away, seen.ray, rays)[:, 0]
    normals = accumulate(strength, normal, seen.ray, rays)
    return RayColors(made.albedo, made.opacity, made.depth, made.z_variance, normals, orient)


def _evaluate(
    volume: Volume, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], samples: Samples
) -> tuple[Samples, Float[Tensor, "M"], Float[Tensor, "M 3"]]:
    """Density and albedo of the samples that can be seen; each round back is as long as all before."""
    passed = torch.zeros_like(origins[:, 0])  # optical depth of each ray so far
    rank = samples.rank(len(origins))
    longest = int(rank.max()) + 1 if len(samples) else 1  # one round over nothing keeps the graph whole
    chosen, densities, albedos = [], [], []
    begin, end = 0, ROUND
    while begin < longest:
        index = ((rank >= begin) & (rank < end) & (passed < HIDDEN)[samples.ray]).nonzero()[:, 0]
        part = samples[index]
        density, albedo = volume.evaluate(part.points(origins, directions))
        passed.index_add_(0, part.ray, density.detach() * part.dz)
        chosen.append(index)
        densities.append(density)
        albedos.append(albedo)
        begin, end = end, 2 * end
    index, order = _sorted(torch.cat(chosen), len(samples))
    return (
        samples[index],
        torch.cat(densities).index_select(0, order),
        torch.cat(albedos).index_select(0, order),
    )


def _sorted(chosen: Int[Tensor, "S"], count: int) -> tuple[Int[Tensor, "S"], Int[Tensor, "S"]]:
    """`chosen.sort()` for different numbers below `count`, in linear time."""
    place = torch.full((count,), -1, device=chosen.device)
    place[chosen] = torch.arange(len(chosen), device=chosen.device)
    index = (place >= 0).nonzero()[:, 0]
    return index, place.index_select(0, index)


def _where_normals(made: Composite, normals_at: NormalsAt) -> tuple[Int[Tensor, "S"], Float[Tensor, "S"]]:
    """Which samples get a normal, and with what weight it enters its ray's."""
    if normals_at == "samples":
        index = (made.weight.detach() > VISIBLE).nonzero()[:, 0]
        return index, made.weight.index_select(0, index)
    ray = (made.opacity.detach() > VISIBLE).nonzero()[:, 0]
    return made.middle.index_select(0, ray), made.opacity.index_select(0, ray)
