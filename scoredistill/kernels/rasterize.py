"""Compositing of 2-D Gaussians in pixels, nearest first (Kerbl et al. 2023, eq. 3).

N Gaussians   B views   C channels   I pairs of a tile and a Gaussian that touches it   T tiles of all views
d = mean - pixel centre; conic a, b, c: inverse covariance [[a, b], [b, c]]
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.project import NEAR, Footprints

CHANNELS = 8
"""Features of a Gaussian: a color, a normal, a distance and its square."""
FAINT = 1 / 255
"""Opacity below which a Gaussian is skipped in a pixel: less than a step of 8-bit color (Kerbl et al. 2023)."""
SOLID = 0.99
"""Greatest opacity of one Gaussian in a pixel: the light behind it stays above zero (Kerbl et al. 2023)."""
DARK = 1e-4
"""Light left below which a pixel is finished (Kerbl et al. 2023)."""


@dataclass(frozen=True)
class Tiles:
    """Which Gaussians touch each tile of `size` x `size` pixels, nearest first."""

    splat: Int[Tensor, "I"]  # row of [B N], tile after tile
    start: Int[Tensor, "S"]  # S = T + 1: first pair of each tile, and the number of pairs
    size: int
    down: int  # tiles in a column and in a row of a view
    across: int


def reach(footprints: Footprints, opacity: Float[Tensor, "N"]) -> Float[Tensor, "B N 2"]:
    """Half-sides of the box in which a Gaussian is not faint; negative where it is nowhere.

    o exp(-q / 2) >= FAINT where q <= 2 ln(o / FAINT), an ellipse whose box has the half-sides sqrt(q variance).
    Differs from Kerbl et al. 2023, who cut at three standard deviations, to a whole tile: here the cut is that of
    the pixels, so that the picture does not depend on the tiles.
    """
    a, b, c = footprints.conic.unbind(-1)
    variances = torch.stack([c, a], -1) / (a * c - b * b)[..., None]
    q = 2 * torch.log(opacity / FAINT)
    seen = (q > 0) & (footprints.depth > NEAR)
    return torch.sqrt(q.clamp(min=0)[:, None] * variances).where(seen[..., None], -1)


@torch.no_grad()
def tiles(footprints: Footprints, opacity: Float[Tensor, "N"], height: int, width: int, size: int) -> Tiles:
    """Sort the Gaussians of each view by depth and hand them to the tiles that they touch."""
    down, across = -(-height // size), -(-width // size)
    half = reach(footprints, opacity)
    mean = footprints.mean
    limits = mean.new_tensor([across, down])
    # the first and the last pixel centre inside the box, in tiles
    first = torch.floor(torch.ceil(mean - half - 0.5) / size).clamp(min=0)
    last = torch.floor(torch.floor(mean + half - 0.5) / size)
    spans = (torch.minimum(last, limits - 1) - first + 1).clamp(min=0).where(half >= 0, 0).long()
    order = footprints.depth.flatten().argsort(stable=True)
    spans, corner = spans.flatten(0, 1)[order], first.long().flatten(0, 1)[order]
    counts = spans.prod(-1)
    pair = torch.repeat_interleave(torch.arange(len(order), device=mean.device), counts)
    rank = torch.arange(len(pair), device=mean.device) - (counts.cumsum(0) - counts)[pair]
    column = corner[pair, 0] + rank % spans[pair, 0]
    row = corner[pair, 1] + rank // spans[pair, 0]
    view = order[pair] // mean.shape[1]
    tile = (view * down + row) * across + column
    sorted_tile, where = tile.int().sort(stable=True)
    bounds = torch.arange(len(mean) * down * across + 1, device=mean.device, dtype=torch.int32)
    start = torch.searchsorted(sorted_tile, bounds, out_int32=True)
    return Tiles(order[pair][where].int(), start, size, down, across)


def rasterize(
    footprints: Footprints, opacity: Float[Tensor, "N"], features: Float[Tensor, "B N 8"], height: int, width: int
) -> tuple[Float[Tensor, "B 8 H W"], Float[Tensor, "B 1 H W"]]:
    """Composited features and opacity of every pixel, differentiable in everything but the order of depth.

    p_i = min(o_i exp(-d^T conic d / 2), SOLID), faint ones skipped;  w_i = p_i prod_{j<i} (1 - p_j), until DARK
    image = sum_i w_i features_i,   opacity = sum_i w_i        (Kerbl et al. 2023, eq. 3 and section 6)

    Served by gsplat where that imports and there is a GPU, unless `backend` is told otherwise.
    """
    if footprints.mean.is_cuda and backend.choice() == "auto" and gsplat_works():
        return by_gsplat(footprints, opacity, features, height, width)
    if backend.fast(footprints.mean, opacity, features):
        from scoredistill.kernels.warp import rasterize as fast

        return fast.rasterize(footprints, opacity, features, height, width)
    return reference(footprints, opacity, features, height, width)


@functools.cache
def gsplat_works() -> bool:
    """Whether gsplat is installed and has its CUDA code, which it compiles when it is first imported."""
    if importlib.util.find_spec("gsplat") is None:
        return False
    from gsplat.cuda._backend import _C  # type: ignore[import-not-found] (None where it found no CUDA toolkit)

    return _C is not None


def by_gsplat(
    footprints: Footprints, opacity: Float[Tensor, "N"], features: Float[Tensor, "B N 8"], height: int, width: int
) -> tuple[Float[Tensor, "B 8 H W"], Float[Tensor, "B 1 H W"]]:
    """`rasterize` by gsplat's kernel over our tiles; it cuts opacities at .999 in place of SOLID."""
    from gsplat import rasterize_to_pixels  # type: ignore[import-not-found]

    lists = tiles(footprints, opacity, height, width, 16)
    offsets = lists.start[:-1].view(len(features), lists.down, lists.across)
    values = (footprints.mean, footprints.conic, features, opacity.expand(len(features), -1))
    values = (value.contiguous() for value in values)
    image, seen = rasterize_to_pixels(*values, width, height, lists.size, offsets, lists.splat)
    return image.permute(0, 3, 1, 2), seen.permute(0, 3, 1, 2)


def reference(
    footprints: Footprints,
    opacity: Float[Tensor, "N"],
    features: Float[Tensor, "B N C"],
    height: int,
    width: int,
    *,
    size: int = 16,
) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B 1 H W"]]:
    """`rasterize` in plain torch, for any device, dtype and number of channels, one tile after the other."""
    lists = tiles(footprints, opacity, height, width, size)
    mean, conic = footprints.mean.flatten(0, 1), footprints.conic.flatten(0, 1)
    values = torch.cat([features, torch.ones_like(features[..., :1])], -1).flatten(0, 1)
    opacities = opacity.repeat(len(features))
    faint = torch.log(FAINT / opacities)
    offsets = torch.arange(size, device=mean.device, dtype=mean.dtype) + 0.5
    v, u = torch.meshgrid(offsets, offsets, indexing="ij")
    inside = torch.stack([u, v], -1).reshape(-1, 2)
    starts, pictures = lists.start.tolist(), []
    for tile in range(len(starts) - 1):
        chosen = lists.splat[starts[tile] : starts[tile + 1]].long()
        corner = size * mean.new_tensor([tile % lists.across, tile // lists.across % lists.down])
        d = mean[chosen] - (corner + inside)[:, None]  # [pixels, splats, 2]
        a, b, c = conic[chosen].unbind(-1)
        power = -0.5 * (a * d[..., 0] ** 2 + c * d[..., 1] ** 2) - b * d[..., 0] * d[..., 1]
        p = (opacities[chosen] * torch.exp(power)).clamp(max=SOLID).where(power >= faint[chosen], 0)
        pictures.append(_weights(p) @ values[chosen])
    picture = torch.stack(pictures).view(-1, lists.down, lists.across, size, size, values.shape[-1])
    picture = picture.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)[..., :height, :width]
    return picture[:, :-1], picture[:, -1:]


def _weights(p: Float[Tensor, "P K"]) -> Float[Tensor, "P K"]:
    """w_i = p_i prod_{j<i} (1 - p_j), 0 from the one on that would leave less than DARK."""
    after = torch.cumprod(1 - p, 1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
    return (p * before).where(after >= DARK, 0)
