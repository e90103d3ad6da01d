"""Extraction of a triangle mesh from a volume, with the colors of its renders.

V vertices   F faces   T texels per side of the texture
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from scoredistill.contracts import Field
from scoredistill.export.surface import level_set, sample, simplify, vertex_normals, without_floaters
from scoredistill.export.texture import bake, rendered_colors, unwrap
from scoredistill.export.threshold import render_threshold

FACES = 5_000  # renders within 0.1 dB of the full 40,000 to 80,000; an atlas of 20,000 takes ten times as long
TEXTURE = 512  # two texels per cell of 1/128 of the cube, on a ball that fills it
SMALLEST = 16  # texels per side; in a smaller atlas, charts may cover no texel center


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in world coordinates (y up, front +z), on the CPU.

    With a texture, a vertex on a seam of the atlas is duplicated for each side. Colors are sRGB in [0, 1].
    """

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]  # counter-clockwise seen from outside
    normals: Float[Tensor, "V 3"]  # unit, outward
    colors: Float[Tensor, "V 3"]
    uv: Float[Tensor, "V 2"] | None = None  # (0, 0) is the top left corner of the texture
    texture: Float[Tensor, "3 T T"] | None = None


@torch.no_grad()
def extract(
    field: Field,
    *,
    resolution: int = 128,
    threshold: float | None = None,
    faces: int = FACES,
    texture: int = TEXTURE,
    min_size: float = 0.1,
    device: torch.device | str = "cpu",
) -> Mesh:
    """The level set density = threshold of `field`, sampled at `resolution` points per side, with its colors.

    Without `threshold`, `render_threshold` chooses it. Connected pieces smaller than `min_size` times the size (cube
    root of the volume) of the largest are floaters and are removed, and so are the walls of cavities, which are
    invisible. The mesh is simplified to about `faces` faces (0: all), with a texture of `texture` texels per side
    (0: none). Vertices and texels get the color that a ray along their normal renders. `device` is that of the field.

    ValueError if the volume is empty, has no surface at the given threshold, or a setting is out of range.
    """
    if resolution < 2 or faces < 0 or (texture != 0 and texture < SMALLEST):
        given = f"resolution {resolution}, faces {faces}, texture {texture}"
        raise ValueError(
            "a mesh needs a resolution of 2 or more, faces of 0 (all) or more, and a texture of 0 (none) "
            f"or {SMALLEST} texels or more; got {given}"
        )
    sampled = sample(field, resolution, device)
    if not bool(torch.isfinite(sampled.values).all()):
        raise ValueError("cannot extract a mesh: the density is not finite (NaN or infinity); the run diverged")
    level = render_threshold(sampled.values, sampled.cell) if threshold is None else threshold
    peak = float(sampled.values.max())
    if not 0 < level < peak:
        raise ValueError(
            f"cannot extract a mesh: no surface at threshold {level:g}; the density is in [0, {peak:.3g}]; "
            "choose a threshold in this range, or omit it to choose one automatically"
        )
    surface = without_floaters(*level_set(field, sampled, level), min_size)
    vertices, corners = simplify(*surface, faces)
    normals = vertex_normals(vertices, corners)
    colors = rendered_colors(field, vertices, normals, sampled.cell)
    parts = (vertices, corners, normals, colors)
    return Mesh(*(part.cpu() for part in (_textured(field, parts, sampled.cell, texture) if texture else parts)))


def _textured(field: Field, parts: tuple[Tensor, ...], cell: float, size: int) -> tuple[Tensor, ...]:
    """Vertices, faces, normals, colors, uv and texture of the same mesh, cut along the seams of an atlas."""
    vertices, corners, normals, colors = parts
    atlas = unwrap(vertices, corners, size)

    def color(places: Tensor) -> Tensor:
        return rendered_colors(field, places[:, :3], normalize(places[:, 3:], dim=-1), cell)

    image = bake(atlas, torch.cat([vertices, normals], 1), color, size)
    cut = (values[atlas.source] for values in (normals, colors))
    return vertices[atlas.source], atlas.faces, *cut, atlas.uv, image
