"""A sphere tracer for toys: antialiased silhouettes, exact normals, one ray per pixel.

Each part of a toy is traced along the rays that meet its bounding ball; a pixel blends its fragments front to back.

R rays   M pairs (ray, part), sorted by part   z distance along a ray   d signed distance at a point of it
h half the footprint of a pixel at z: a surface at distance d covers 1/2 - d / 2h of the pixel, smoothed
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Frame
from scoredistill.render.shading import daylight
from scoredistill.toybox.shapes import length
from scoredistill.toybox.toy import Part, Toy

BACKGROUND = (0.18, 0.55, 0.60)  # teal, the hue without a color word: 0.3 from every word, lit or shaded

STEPS = 64  # of the sphere trace: enough even for a ray along a flat ellipsoid
FULL_DEPTH = 0.85  # in h: at this depth below the surface the pixel is fully covered
SPECULAR, POLISH = 0.5, 18  # strength and exponent of a shiny toy's highlight (Blinn 1977)
LAMP = 0.25  # height of the highlight above the line of sight (tangent): it appears on walls, not only on tops
STANDOFF = 0.02  # in h: normals are evaluated just in front of the surface, since at distance 0 they are undefined
MIN_SLOPE = 1e-3  # a smaller gradient of the distance has no direction (the middle of a solid)


@dataclass
class _Pairs:
    """Pairs of a ray and a part whose bounding ball it meets, and the state of the trace of each pair."""

    parts: tuple[Part, ...]
    ray: Tensor  # [M] index of the ray
    owner: Tensor  # [M] index of the part, ascending
    origin: Tensor  # [3 M]
    direction: Tensor  # [3 M]
    spread: Tensor  # [M] h / z
    z: Tensor  # [M]
    far: Tensor  # [M]

    def __getitem__(self, index: Tensor) -> _Pairs:
        return _Pairs(
            self.parts,
            self.ray[index],
            self.owner[index],
            self.origin[:, index],
            self.direction[:, index],
            self.spread[index],
            self.z[index],
            self.far[index],
        )

    def split(self, values: Tensor) -> list[tuple[Part, Tensor]]:
        """Values [K M] split by part, without parts that have none."""
        counts = torch.bincount(self.owner, minlength=len(self.parts)).tolist()
        chunks = values.split(counts, dim=1)
        return [(part, chunk) for part, chunk in zip(self.parts, chunks, strict=True) if chunk.shape[1]]

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance [M] of each point [3 M] to its own part."""
        found = [part.shape.distance(chunk) for part, chunk in self.split(points)]
        return torch.cat([points[0, :0], *found])  # the first element serves the case that no ray meets the toy


@dataclass
class _Hits:
    """Results of the trace of each pair: the closest approach and the intersection with the surface."""

    low: Tensor  # [M] smallest d
    z_low: Tensor  # [M] z of the smallest d
    z_near: Tensor  # [M] z at which d first falls below h
    z_surface: Tensor  # [M] z at which d first falls below 0; infinite if it does not


@dataclass
class _Fragments:
    """The pairs that cover a pixel: the coverage of the pixel by each, and the surface point."""

    pairs: _Pairs
    coverage: Tensor  # [M] in (0, 1]
    z: Tensor  # [M]
    points: Tensor  # [3 M]
    normal: Tensor  # [3 M] unit

    def __getitem__(self, index: Tensor) -> _Fragments:
        pairs, normal = self.pairs[index], self.normal[:, index]
        return _Fragments(pairs, self.coverage[index], self.z[index], self.points[:, index], normal)


@torch.no_grad()
def render(toy: Toy, cameras: Cameras, background: Float[Tensor, "3"]) -> Frame:
    """Render one toy from all cameras over a plain background, shaded by `daylight`.

    rgb = sum_k w_k albedo_k daylight(n_k), with w_k the coverage of fragment k times the transmittance of the nearer
    ones; depth is the mean of z_k weighted by w_k, normal = sum_k w_k n_k in world coordinates. Any device.
    """
    return _composite(_surfaces(toy, cameras), cameras, background)


@torch.no_grad()
def render_without(
    toy: Toy, cameras: Cameras, background: Float[Tensor, "3"], hidden: Sequence[Collection[int]]
) -> list[Frame]:
    """For each set of parts, by index, a render as `render` makes it of the toy without them; it is traced once."""
    fragments = _surfaces(toy, cameras)
    owner = fragments.pairs.owner
    left = [~torch.isin(owner, owner.new_tensor(list(parts))) for parts in hidden]
    return [_composite(fragments[shown.nonzero()[:, 0]], cameras, background) for shown in left]


def _surfaces(toy: Toy, cameras: Cameras) -> _Fragments:
    """The fragments of all parts along all rays."""
    origins, directions = (rays.reshape(-1, 3).T.contiguous() for rays in cameras.rays())
    spread = (torch.tan(0.5 * cameras.fov) / cameras.height).repeat_interleave(cameras.height * cameras.width)
    pairs = _pair(toy, origins, directions, spread)
    return _fragments(pairs, _trace(pairs))


def _composite(fragments: _Fragments, cameras: Cameras, background: Float[Tensor, "3"]) -> Frame:
    """The fragments blended front to back over the background."""
    views, height, width = len(cameras), cameras.height, cameras.width
    layers = fragments.z.new_zeros(8, views * height * width)
    layers.index_add_(1, fragments.pairs.ray, _shaded(fragments) * _weights(fragments))
    rgb, opacity, depth, normal = layers.split([3, 1, 1, 3])
    rgb = rgb + (1 - opacity) * background.to(rgb)[:, None]
    depth = depth / opacity.where(opacity > 0, 1)

    def images(values: Tensor) -> Tensor:
        return values.reshape(-1, views, height, width).transpose(0, 1).contiguous()

    return Frame(images(rgb), images(opacity), images(depth), images(normal))


def _pair(toy: Toy, origins: Tensor, directions: Tensor, spread: Tensor) -> _Pairs:
    """Pairs of each ray with the parts whose bounding balls, enlarged by a pixel, it meets in front of the camera."""
    balls = [part.ball for part in toy.parts]
    centers = origins.new_tensor([[float(value) for value in center] for center, _ in balls])  # [P 3]
    radii = origins.new_tensor([radius for _, radius in balls])[:, None]
    middle = centers @ directions - (origins * directions).sum(0)  # [P R]
    square = centers.square().sum(1)[:, None] - 2 * centers @ origins + origins.square().sum(0)
    half = (radii + 2 * spread * middle).square() - (square - middle.square())
    owner, ray = ((half > 0) & (middle > 0)).nonzero(as_tuple=True)
    half, middle = half[owner, ray].sqrt(), middle[owner, ray]
    pairs = _Pairs(
        toy.parts, ray, owner, origins[:, ray], directions[:, ray], spread[ray], middle - half, middle + half
    )
    return _clip(pairs, 2 * pairs.spread * middle)


def _clip(pairs: _Pairs, margin: Tensor) -> _Pairs:
    """The pairs that also meet the bounding box of the part, enlarged by `margin` [M], clipped to its inside."""
    corners = pairs.origin.new_tensor([np.stack(part.box).tolist() for part in pairs.parts])[pairs.owner]  # [M 2 3]
    near = (corners[:, 0].T - margin - pairs.origin) / pairs.direction
    far = (corners[:, 1].T + margin - pairs.origin) / pairs.direction
    pairs.z = torch.maximum(pairs.z, torch.minimum(near, far).amax(0)).clamp(min=0)
    pairs.far = torch.minimum(pairs.far, torch.maximum(near, far).amin(0))
    return pairs[(pairs.z < pairs.far).nonzero()[:, 0]]


def _trace(pairs: _Pairs) -> _Hits:
    """Trace each pair towards the surface h below the true one, in steps of d + h."""
    z = pairs.z
    hits = _Hits(torch.full_like(z, torch.inf), z.clone(), z.clone(), torch.full_like(z, torch.inf))
    before = torch.full_like(z, torch.inf)  # d at the previous step
    step = torch.zeros_like(z)
    active = torch.arange(len(z), device=z.device)
    trace = pairs[active]
    for _ in range(STEPS):
        d = trace.distance(trace.origin + trace.z * trace.direction)
        h = trace.spread * trace.z
        low = hits.low[active]
        hits.z_near[active] = torch.where(low < h, hits.z_near[active], trace.z)
        hits.z_low[active] = torch.where(d < low, trace.z, hits.z_low[active])
        hits.low[active] = torch.minimum(d, low)
        last = before[active]
        crossing = trace.z - step[active] * (d / (d - last))  # secant between the two steps
        hits.z_surface[active] = torch.where((d < 0) & (last >= 0), crossing, hits.z_surface[active])
        before[active], step[active] = d, d + h
        trace.z = trace.z + d + h
        going = ((d > -FULL_DEPTH * h) & (trace.z < trace.far)).nonzero()[:, 0]
        if not len(going):
            break
        active, trace = active[going], trace[going]
    return hits


def _fragments(pairs: _Pairs, hits: _Hits) -> _Fragments:
    """Coverage, point and normal of the pairs that pass within h; one Newton step moves to the surface."""
    hit = (hits.low < pairs.spread * hits.z_low).nonzero()[:, 0]
    pairs, low, z_low = pairs[hit], hits.low[hit], hits.z_low[hit]
    z_near, z_surface = hits.z_near[hit], hits.z_surface[hit]
    crossed = z_surface.isfinite()
    h = pairs.spread * z_low
    z = torch.where(crossed, z_surface - STANDOFF * h, z_low)
    d, gradient = _gradient(pairs, pairs.origin + z * pairs.direction)
    slope = length(gradient).clamp(min=MIN_SLOPE)
    correction = (d / (gradient * pairs.direction).sum(0).clamp(max=-0.05)).clamp(-h, h)
    z = torch.where(crossed, z - correction, z_near)
    share = (0.5 - low / (2 * FULL_DEPTH * h * slope)).clamp(0, 1)
    coverage = share * share * (3 - 2 * share)
    return _Fragments(pairs, coverage, z, pairs.origin + z * pairs.direction, gradient / slope)


@torch.enable_grad()
def _gradient(pairs: _Pairs, points: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance [M] and its gradient [3 M] by automatic differentiation."""
    points = points.detach().requires_grad_()
    d = pairs.distance(points)
    return d.detach(), torch.autograd.grad(d.sum(), points)[0]


def _weights(fragments: _Fragments) -> Tensor:
    """w = coverage times the transmittance of the nearer fragments of the ray, prod (1 - coverage)."""
    order = fragments.z.argsort()
    order = order[fragments.pairs.ray[order].argsort(stable=True)]
    ray, coverage = fragments.pairs.ray[order], fragments.coverage[order]
    passed = torch.log1p(-coverage.double().clamp(max=1 - 1e-6))  # float64: a running sum over all rays
    before = passed.cumsum(0) - passed
    first = torch.searchsorted(ray, ray)  # the ray's nearest fragment
    weights = torch.empty_like(coverage)
    weights[order] = coverage * (before - before[first]).exp().to(coverage)
    return weights


def _shaded(fragments: _Fragments) -> Tensor:
    """Features of each fragment [8 M]: rgb, opacity, depth, normal."""
    pairs, normal = fragments.pairs, fragments.normal
    split = pairs.split(fragments.points)
    albedo = torch.cat([normal[:, :0], *(part.paint(chunk) for part, chunk in split)], dim=1)
    gloss = pairs.spread.new_tensor([part.gloss for part in pairs.parts])[pairs.owner]
    to_camera = -pairs.direction
    rgb = albedo * daylight(normal.T, to_camera.T)
    halfway = torch.nn.functional.normalize(to_camera + to_camera.new_tensor([[0.0], [LAMP], [0.0]]), dim=0)
    highlight = SPECULAR * gloss * (normal * halfway).sum(0).clamp(min=0) ** POLISH
    rgb = rgb + highlight * (1 - rgb)
    return torch.cat([rgb, torch.ones_like(fragments.z)[None], fragments.z[None], normal])
