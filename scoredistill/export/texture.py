"""Rendered colors of a surface: at points, and as a texture over an atlas.

N points   V vertices   F faces   T texels per side   `cell` the distance between the samples of the density
uv as in glTF: (0, 0) is the top left corner of the texture, texel (i, j) has its center at ((j, i) + 0.5) / T
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.contracts import Field
from scoredistill.export.surface import CHUNK, density
from scoredistill.render.triangles import rasterize_triangles

OUTSIDE, INSIDE = 2, 6  # range of a ray in front of and behind the surface, in cells
MIN_WEIGHT = 1e-3  # smallest weight of a sample relative to its ray: a quarter of a step of 8-bit color
PORTION = CHUNK // (OUTSIDE + INSIDE + 1)  # rays per batch
GAP = 4  # texels between charts, so that bilinear filtering and two mipmap levels do not mix charts


@dataclass(frozen=True)
class Atlas:
    """A surface cut into charts on the unit square; a vertex on a seam is duplicated for each side."""

    source: Int[Tensor, "W"]  # original index of each vertex
    faces: Int[Tensor, "F 3"]  # the same faces, with the new vertex indices
    uv: Float[Tensor, "W 2"]


def rendered_colors(
    field: Field, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], cell: float
) -> Float[Tensor, "N 3"]:
    """Volume-render the color along the inward normals, from two cells outside to six inside.

    sum_k w_k color_k / sum_k w_k, w_k = exp(-sum_{j<k} density_j cell) (1 - exp(-density_k cell)). This is the color in
    a render; the color at the point itself may belong to a thin layer that no view has trained.
    """
    offsets = cell * torch.arange(OUTSIDE, -INSIDE - 1, -1, device=points.device)
    rays = zip(points.split(PORTION), normals.split(PORTION), strict=True)
    return torch.cat(
        [
            _composited_colors(field, start[:, None] + offsets[:, None] * outward[:, None], cell)
            for start, outward in rays
        ]
    )


def _composited_colors(field: Field, places: Float[Tensor, "N K 3"], cell: float) -> Float[Tensor, "N 3"]:
    """The color composited along rays with samples at `places`, front to back, `cell` apart."""
    optical = cell * density(field, places.flatten(0, 1)).reshape(places.shape[:2])
    weights = torch.exp(optical - optical.cumsum(1)) * -torch.expm1(-optical)
    weights[:, OUTSIDE] += 1e-6  # at the point itself, for rays without density
    weights *= weights > MIN_WEIGHT * weights.sum(1, keepdim=True)
    colors = torch.zeros_like(places)
    colors[weights > 0] = field.color(places[weights > 0]).float()
    return ((weights[..., None] * colors).sum(1) / weights.sum(1, keepdim=True)).clamp(0, 1)


def unwrap(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], size: int) -> Atlas:
    """Cut a surface into charts and pack them, for a texture of `size` texels a side, by xatlas (Young 2018)."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.cpu().numpy().astype(np.float32), faces.cpu().numpy().astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = size, GAP, True
    atlas.generate(pack_options=packing)
    source, corners, uv = atlas.get_mesh(0)
    texels = (
        uv * [atlas.width, atlas.height] / max(atlas.width, atlas.height)
    )  # xatlas makes it only approximately square
    source, corners, uv = (torch.from_numpy(values).to(vertices.device) for values in (source, corners, texels))
    return Atlas(source.long(), corners.long(), uv.float())


def bake(
    atlas: Atlas, values: Float[Tensor, "V C"], color: Callable[[Tensor], Tensor], size: int
) -> Float[Tensor, "3 T T"]:
    """The texture whose texels have the color of the surface at their centers.

    `color` maps the vertex `values` interpolated to the texel centers, [N C] -> [N 3]. Texels outside of all charts
    repeat the nearest texel of a chart, so that filters mix in no other color at a seam.
    """
    from scipy.ndimage import distance_transform_edt

    corners = torch.cat([atlas.uv * size, torch.ones_like(atlas.uv[:, :1])], 1)[atlas.faces]
    hits = rasterize_triangles(corners, size, size)
    covered = hits.face >= 0
    texture = values.new_zeros(size, size, 3)
    texture[covered] = color(hits.interpolate(values[atlas.source], atlas.faces)[covered])
    nearest = distance_transform_edt(~covered.cpu().numpy(), return_distances=False, return_indices=True)
    row, column = torch.from_numpy(nearest).long().to(values.device)
    return texture[row, column].permute(2, 0, 1)
