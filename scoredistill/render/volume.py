"""Volume rendering of rays: density and albedo in, composited images out.

R rays   M samples   origins, directions in world coordinates, directions of unit length   z distance on a ray
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.kernels.composite import Composite, accumulate, composite
from scoredistill.kernels.march import Samples, select

FIRST_ROUND = 8
"""Samples of a ray that are evaluated before its occlusion is tested: as many as an opaque surface needs."""
MAX_OPTICAL_DEPTH = 6.9
"""Samples at a larger optical depth are skipped: transmittance 0.1 %, a quarter of a step of 8-bit color."""
MIN_WEIGHT = 1e-2
"""No normal is computed for a smaller weight (or opacity): its shading is invisible."""

NormalsAt = Literal["surface", "samples"]


@runtime_checkable
class Volume(Protocol):
    """A field that can be volume-rendered."""

    def evaluate(self, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
        """Density per unit length and albedo in [0, 1]."""
        ...

    def normal(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Unit vectors along which the density decreases fastest."""
        ...


@dataclass(frozen=True)
class RayColors:
    """Composites along rays; all zero for a ray that meets nothing."""

    albedo: Float[Tensor, "R 3"]  # sum_i w_i albedo_i
    opacity: Float[Tensor, "R"]  # sum_i w_i
    depth: Float[Tensor, "R"]  # mean z, weighted by w_i
    z_variance: Float[Tensor, "R"]  # variance of z, weighted by w_i
    normal: Float[Tensor, "R 3"]  # unit normals times weight
    orient: Float[Tensor, "R"]  # sum_i sg[w_i] max(n_i . d, 0)^2 (Verbin et al. 2022, eq. 11): normals facing away


def render_rays(
    volume: Volume,
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    samples: Samples,
    *,
    normals_at: NormalsAt = "surface",
    least_alpha: float = 0.0,
) -> RayColors:
    """Composite a volume along rays (Mildenhall et al. 2020, eq. 3), differentiably.

    Normals are evaluated at every visible sample and composited (`samples`), or only at the sample where half of the
    ray's opacity is reached and weighted by the total opacity (`surface`: a quarter of the cost). Samples whose alpha
    is below `least_alpha` are left out, in effect and in gradient (nerfacc).
    """
    rays = len(origins)
    samples, density, albedo = _evaluate(volume, origins, directions, samples)
    if least_alpha > 0:
        solid = (-torch.expm1(-density.detach() * samples.dz) >= least_alpha).nonzero()[:, 0]
        samples, density, albedo = samples[solid], density.index_select(0, solid), albedo.index_select(0, solid)
    composed = composite(density, albedo, samples, rays)
    index, strength = _normal_samples(composed, normals_at)
    selected, points = select(samples, index, origins, directions)
    normal = volume.normal(points)
    facing_away = (normal * directions[selected.ray]).sum(-1, keepdim=True).clamp(min=0) ** 2
    orient = accumulate(strength.detach(), facing_away, selected.ray, rays)[:, 0]
    normals = accumulate(strength, normal, selected.ray, rays)
    return RayColors(composed.albedo, composed.opacity, composed.depth, composed.z_variance, normals, orient)


def _evaluate(
    volume: Volume, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], samples: Samples
) -> tuple[Samples, Float[Tensor, "M"], Float[Tensor, "M 3"]]:
    """Density and albedo of the visible samples, in rounds; each round is as long as all previous ones together."""
    passed = torch.zeros_like(origins[:, 0])  # optical depth of each ray so far
    counts = torch.bincount(samples.ray, minlength=len(origins))
    starts = counts.cumsum(0) - counts
    longest = int(counts.max()) if len(samples) else 1  # one empty round connects the outputs to the graph
    chosen, densities, albedos = [], [], []
    begin, end = 0, FIRST_ROUND
    while begin < longest:
        visible = ((counts > begin) & (passed < MAX_OPTICAL_DEPTH)).nonzero()[:, 0]
        index = _ranges(starts[visible] + begin, counts[visible].clamp(max=end) - begin)
        part, points = select(samples, index, origins, directions)
        density, albedo = volume.evaluate(points)
        passed.index_add_(0, part.ray, density.detach() * part.dz)
        chosen.append(index)
        densities.append(density)
        albedos.append(albedo)
        begin, end = end, 2 * end
    index, order = _sorted(torch.cat(chosen), len(samples))
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    density, albedo = (_Permuted.apply(torch.cat(values), order, inverse) for values in (densities, albedos))
    return samples[index], density, albedo


class _Permuted(torch.autograd.Function):
    """values[order] for a permutation; its gradient is permuted too, where torch would add to zeros in one thread."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Int[Tensor, "S"], inverse: Int[Tensor, "S"]) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return values.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        order, inverse = ctx.saved_tensors
        return _Permuted.apply(grad, inverse, order), None, None


def _ranges(starts: Int[Tensor, "V"], lengths: Int[Tensor, "V"]) -> Int[Tensor, "S"]:
    """All of start, start + 1, ..., start + length - 1, range after range."""
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    shift = (starts + lengths - ends).repeat_interleave(lengths, output_size=total)
    return shift + torch.arange(total, device=shift.device)


def _sorted(chosen: Int[Tensor, "S"], count: int) -> tuple[Int[Tensor, "S"], Int[Tensor, "S"]]:
    """`chosen.sort()` for distinct numbers below `count`, in linear time."""
    place = torch.full((count,), -1, device=chosen.device)
    place[chosen] = torch.arange(len(chosen), device=chosen.device)
    index = (place >= 0).nonzero()[:, 0]
    return index, place.index_select(0, index)


def _normal_samples(composed: Composite, normals_at: NormalsAt) -> tuple[Int[Tensor, "S"], Float[Tensor, "S"]]:
    """The samples that get a normal, and the weight of each normal on its ray."""
    if normals_at == "samples":
        index = (composed.weight.detach() > MIN_WEIGHT).nonzero()[:, 0]
        return index, composed.weight.index_select(0, index)
    ray = (composed.opacity.detach() > MIN_WEIGHT).nonzero()[:, 0]
    return composed.middle.index_select(0, ray), composed.opacity.index_select(0, ray)
