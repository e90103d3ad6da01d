"""Compositing of 2D Gaussians in pixels, nearest first (Kerbl et al. 2023, eq. 3).

N Gaussians   B views   C channels   I pairs of a tile and a Gaussian that touches it   T tiles of all views
d = mean - pixel center; conic a, b, c: inverse covariance [[a, b], [b, c]]
"""

from __future__ import annotations

import functools
import importlib.util

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.types import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, NEAR, Footprints, Tiles
from scoredistill.kernels.types import SPLAT_CHANNELS as CHANNELS

__all__ = ["CHANNELS", "MAX_ALPHA", "MIN_ALPHA", "MIN_TRANSMITTANCE", "rasterize", "reach", "reference", "tiles"]


def reach(footprints: Footprints, opacity: Float[Tensor, "N"]) -> Float[Tensor, "B N 2"]:
    """Half-sides of the box in which the opacity of a Gaussian is at least MIN_ALPHA; -1 if it is nowhere.

    o exp(-q / 2) >= MIN_ALPHA where q <= 2 ln(o / MIN_ALPHA), an ellipse whose box has the half-sides
    sqrt(q variance). Kerbl et al. 2023 cut at three standard deviations instead, rounded to whole tiles; here the cut
    is the one applied in the pixels, so that the image does not depend on the tiles.
    """
    a, b, c = footprints.conic.unbind(-1)
    determinant = a * c - b * b
    variances = torch.stack([c, a], -1) / determinant[..., None]
    q = 2 * torch.log(opacity / MIN_ALPHA)
    visible = (q > 0) & (footprints.depth > NEAR) & (determinant > 0)
    return torch.sqrt(q.clamp(min=0)[:, None] * variances).where(visible[..., None], -1)


@torch.no_grad()
def tiles(footprints: Footprints, opacity: Float[Tensor, "N"], height: int, width: int, size: int) -> Tiles:
    """Sort the Gaussians of each view by depth and list those that touch each tile."""
    down, across = -(-height // size), -(-width // size)
    half = reach(footprints, opacity)
    mean = footprints.mean
    limits = mean.new_tensor([across, down])
    # tiles of the first and of the last pixel center inside the box
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
    """Composited features and opacity of every pixel, differentiable in everything but the depth order.

    p_i = min(o_i exp(-d^T conic d / 2), MAX_ALPHA), skipped if below MIN_ALPHA
    w_i = p_i prod_{j<i} (1 - p_j), until the product falls below MIN_TRANSMITTANCE
    image = sum_i w_i features_i,   opacity = sum_i w_i        (Kerbl et al. 2023, eq. 3 and section 6)

    Uses gsplat on a GPU if it is installed and the backend is `auto`.
    """
    if footprints.mean.is_cuda and backend.choice() == "auto" and gsplat_works():
        return by_gsplat(footprints, opacity, features, height, width)
    if backend.use_warp(footprints.mean, opacity, features):
        from scoredistill.kernels.warp import rasterize as warp

        lists = tiles(footprints, opacity, height, width, warp.SIZE)
        return warp.rasterize(footprints, opacity, features, lists, height, width)
    return reference(footprints, opacity, features, height, width)


@functools.cache
def gsplat_works() -> bool:
    """Whether gsplat is installed with its CUDA code, which it compiles at its first import."""
    if importlib.util.find_spec("gsplat") is None:
        return False
    from gsplat.cuda._backend import _C  # type: ignore[import-not-found] (None without a CUDA toolkit)

    return _C is not None


def by_gsplat(
    footprints: Footprints, opacity: Float[Tensor, "N"], features: Float[Tensor, "B N 8"], height: int, width: int
) -> tuple[Float[Tensor, "B 8 H W"], Float[Tensor, "B 1 H W"]]:
    """`rasterize` by gsplat's kernel over our tiles; it clamps opacities at .999 instead of MAX_ALPHA."""
    from gsplat import rasterize_to_pixels  # type: ignore[import-not-found]

    lists = tiles(footprints, opacity, height, width, 16)
    offsets = lists.start[:-1].view(len(features), lists.down, lists.across)
    values = (footprints.mean, footprints.conic, features, opacity.expand(len(features), -1))
    values = (value.contiguous() for value in values)
    image, alpha = rasterize_to_pixels(*values, width, height, lists.size, offsets, lists.splat)
    return image.permute(0, 3, 1, 2), alpha.permute(0, 3, 1, 2)


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
    cutoff = torch.log(MIN_ALPHA / opacities)
    offsets = torch.arange(size, device=mean.device, dtype=mean.dtype) + 0.5
    v, u = torch.meshgrid(offsets, offsets, indexing="ij")
    inside = torch.stack([u, v], -1).reshape(-1, 2)
    starts, blocks = lists.start.tolist(), []
    for tile in range(len(starts) - 1):
        chosen = lists.splat[starts[tile] : starts[tile + 1]].long()
        corner = size * mean.new_tensor([tile % lists.across, tile // lists.across % lists.down])
        d = mean[chosen] - (corner + inside)[:, None]  # [pixels, splats, 2]
        a, b, c = conic[chosen].unbind(-1)
        power = -0.5 * (a * d[..., 0] ** 2 + c * d[..., 1] ** 2) - b * d[..., 0] * d[..., 1]
        p = (opacities[chosen] * torch.exp(power)).clamp(max=MAX_ALPHA).where(power >= cutoff[chosen], 0)
        blocks.append(_weights(p) @ values[chosen])
    image = torch.stack(blocks).view(-1, lists.down, lists.across, size, size, values.shape[-1])
    image = image.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)[..., :height, :width]
    return image[:, :-1], image[:, -1:]


def _weights(p: Float[Tensor, "P K"]) -> Float[Tensor, "P K"]:
    """w_i = p_i prod_{j<i} (1 - p_j), and 0 from the first that would leave less than MIN_TRANSMITTANCE."""
    after = torch.cumprod(1 - p, 1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
    return (p * before).where(after >= MIN_TRANSMITTANCE, 0)
