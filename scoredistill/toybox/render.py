"""A sphere tracer for toys: soft silhouettes, exact normals, one sample a pixel.

Each part of a toy is traced along the rays that meet its ball; a pixel blends its fragments front to back.

R rays   M pairs (ray, part), sorted by part   z distance along a ray   d signed distance at a point of it
h half a pixel's footprint at z: passing a surface at distance d covers the pixel by 1/2 - d / 2h, softened
"""

from __future__ import annotations

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

BACKGROUND = (0.18, 0.55, 0.60)  # teal, the hue that no color word names: every word stays 0.3 away, in light or shade

STEPS = 64  # of the march: even a ray along a flat ellipsoid has arrived by then
ARRIVED = 0.85  # a ray this many h below the surface has nothing more to cover
SPECULAR, POLISH = 0.5, 18  # strength and exponent of a shiny toy's highlight (Blinn 1977)
LAMP = 0.25  # how far above the line of sight its middle lies (tangent): on walls, too, not on tops alone
STANDOFF = 0.02  # in h: normals are taken just before the surface, where a distance of exactly 0 has none
FLAT = 1e-3  # a slope of the distance below this has no direction (the middle of a solid)


@dataclass
class _Pairs:
    """Rays paired with the parts whose balls they meet, and what the march finds along each pair."""

    parts: tuple[Part, ...]
    ray: Tensor  # [M] index
    owner: Tensor  # [M] index, ascending
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
        """Values [K M] by part, without the parts that have none."""
        counts = torch.bincount(self.owner, minlength=len(self.parts)).tolist()
        chunks = values.split(counts, dim=1)
        return [(part, chunk) for part, chunk in zip(self.parts, chunks, strict=True) if chunk.shape[1]]

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance [M] of each point [3 M] to its own part."""
        found = [part.shape.distance(chunk) for part, chunk in self.split(points)]
        return torch.cat([points[0, :0], *found])  # the first: where no ray meets the toy


@dataclass
class _Hits:
    """What the march knows of each pair: the closest approach, and where the surface is met."""

    low: Tensor  # [M] smallest d
    z_low: Tensor  # [M] where
    z_near: Tensor  # [M] where d first falls below h
    z_surface: Tensor  # [M] where d first falls below 0; infinite where it does not


@dataclass
class _Fragments:
    """Pairs that show: how much of the pixel each covers, and the surface there."""

    pairs: _Pairs
    coverage: Tensor  # [M] in (0, 1]
    z: Tensor  # [M]
    points: Tensor  # [3 M]
    normal: Tensor  # [3 M] unit


@torch.no_grad()
def render(toy: Toy, cameras: Cameras, background: Float[Tensor, "3"]) -> Frame:
    """Render one toy from all cameras over a plain background, in daylight.

    rgb = sum_k w_k albedo_k daylight(n_k), with w_k the coverage of fragment k times what is left of
    the pixel; depth = sum_k w_k z_k, normal = sum_k w_k n_k in world coordinates. Any device.
    """
    views, height, width = len(cameras), cameras.height, cameras.width
    origins, directions = (rays.reshape(-1, 3).T.contiguous() for rays in cameras.rays())
    spread = (torch.tan(0.5 * cameras.fov) / height).repeat_interleave(height * width)
    pairs = _aim(toy, origins, directions, spread)
    fragments = _fragments(pairs, _march(pairs))
    layers = origins.new_zeros(8, origins.shape[1])
    layers.index_add_(1, fragments.pairs.ray, _shaded(fragments) * _weights(fragments))
    rgb, opacity, depth, normal = layers.split([3, 1, 1, 3])
    rgb = rgb + (1 - opacity) * background.to(rgb)[:, None]

    def images(values: Tensor) -> Tensor:
        return values.reshape(-1, views, height, width).transpose(0, 1).contiguous()

    return Frame(images(rgb), images(opacity), images(depth), images(normal))


def _aim(toy: Toy, origins: Tensor, directions: Tensor, spread: Tensor) -> _Pairs:
    """Every ray with every part whose ball, widened by a pixel, it meets in front of the camera."""
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
    """Keep what also meets its part's box, widened by `margin` [M], and only the stretch of it inside."""
    corners = pairs.origin.new_tensor([np.stack(part.box).tolist() for part in pairs.parts])[pairs.owner]  # [M 2 3]
    near = (corners[:, 0].T - margin - pairs.origin) / pairs.direction
    far = (corners[:, 1].T + margin - pairs.origin) / pairs.direction
    pairs.z = torch.maximum(pairs.z, torch.minimum(near, far).amax(0)).clamp(min=0)
    pairs.far = torch.minimum(pairs.far, torch.maximum(near, far).amin(0))
    return pairs[(pairs.z < pairs.far).nonzero()[:, 0]]


def _march(pairs: _Pairs) -> _Hits:
    """Walk along each pair towards the surface h below the true one, by d + h a step."""
    z = pairs.z
    hits = _Hits(torch.full_like(z, torch.inf), z.clone(), z.clone(), torch.full_like(z, torch.inf))
    before = torch.full_like(z, torch.inf)  # d of the step before
    step = torch.zeros_like(z)
    active = torch.arange(len(z), device=z.device)
    walk = pairs[active]
    for _ in range(STEPS):
        d = walk.distance(walk.origin + walk.z * walk.direction)
        h = walk.spread * walk.z
        low = hits.low[active]
        hits.z_near[active] = torch.where(low < h, hits.z_near[active], walk.z)
        hits.z_low[active] = torch.where(d < low, walk.z, hits.z_low[active])
        hits.low[active] = torch.minimum(d, low)
        last = before[active]
        crossing = walk.z - step[active] * (d / (d - last))  # secant between the two steps
        hits.z_surface[active] = torch.where((d < 0) & (last >= 0), crossing, hits.z_surface[active])
        before[active], step[active] = d, d + h
        walk.z = walk.z + d + h
        going = ((d > -ARRIVED * h) & (walk.z < walk.far)).nonzero()[:, 0]
        if not len(going):
            break
        active, walk = active[going], walk[going]
    return hits


def _fragments(pairs: _Pairs, hits: _Hits) -> _Fragments:
    """Coverage, point and normal of the pairs that pass within h; one Newton step lands on the surface."""
    met = (hits.low < pairs.spread * hits.z_low).nonzero()[:, 0]
    pairs, low, z_low = pairs[met], hits.low[met], hits.z_low[met]
    z_near, z_surface = hits.z_near[met], hits.z_surface[met]
    crossed = z_surface.isfinite()
    h = pairs.spread * z_low
    z = torch.where(crossed, z_surface - STANDOFF * h, z_low)
    d, gradient = _gradient(pairs, pairs.origin + z * pairs.direction)
    slope = length(gradient).clamp(min=FLAT)
    correction = (d / (gradient * pairs.direction).sum(0).clamp(max=-0.05)).clamp(-h, h)
    z = torch.where(crossed, z - correction, z_near)
    share = (0.5 - low / (2 * ARRIVED * h * slope)).clamp(0, 1)
    coverage = share * share * (3 - 2 * share)
    return _Fragments(pairs, coverage, z, pairs.origin + z * pairs.direction, gradient / slope)


@torch.enable_grad()
def _gradient(pairs: _Pairs, points: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance [M] and its gradient [3 M] by automatic differentiation."""
    points = points.detach().requires_grad_()
    d = pairs.distance(points)
    return d.detach(), torch.autograd.grad(d.sum(), points)[0]


def _weights(fragments: _Fragments) -> Tensor:
    """w = coverage times what the nearer fragments of the ray leave, prod (1 - coverage)."""
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
    """What each fragment shows [8 M]: rgb, opacity, depth, normal."""
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
