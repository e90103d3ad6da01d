"""From a volume to a triangle mesh that looks like its renders.

V vertices   F faces   T texels a side of the texture
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from scoredistill.contracts import Field
from scoredistill.export.surface import level_set, sample, simplify, vertex_normals, without_floaters
from scoredistill.export.texture import bake, seen_colors, unwrap
from scoredistill.export.threshold import render_threshold

FACES = 5_000  # renders within 0.1 dB of all 40,000 to 80,000; an atlas of 20,000 takes ten times as long
TEXTURE = 512  # two texels along a cell of 1/128 of the cube, on a ball that fills it
SMALLEST = 16  # texels a side: fewer, and an atlas may miss the center of every texel


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the world's frame (y up, front +z), on the CPU.

    With a texture, a vertex on a seam of its atlas is there once for each side. Colors are in [0, 1], as shown on a
    display (sRGB).
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
    keep: float = 0.1,
    device: torch.device | str = "cpu",
) -> Mesh:
    """The level set density = threshold of `field`, sampled at `resolution` points a side, in its colors.

    Without `threshold`, `render_threshold` chooses it. Connected pieces smaller than `keep` times the size (cube
    root of the volume) of the largest are floaters and dropped; so are the walls of cavities, which nobody sees.
    About `faces` faces are left (0: all), with a texture of `texture` texels a side (0: none). Vertices and texels
    get the color that a ray along their normal would render. `device` is where the field lives.

    ValueError where there is nothing to see, no surface at the given threshold, or a setting is out of range.
    """
    if resolution < 2 or faces < 0 or (texture != 0 and texture < SMALLEST):
        told = f"resolution {resolution}, faces {faces}, texture {texture}"
        raise ValueError(
            "a mesh needs a resolution of 2 or more, faces of 0 (all) or more, and a texture of 0 (none) "
            f"or {SMALLEST} texels or more; got {told}"
        )
    sampled = sample(field, resolution, device)
    if not bool(torch.isfinite(sampled.values).all()):
        raise ValueError("cannot make a mesh: the density is not finite (NaN or infinity); the run diverged")
    level = render_threshold(sampled.values, sampled.cell) if threshold is None else threshold
    peak = float(sampled.values.max())
    if not 0 < level < peak:
        raise ValueError(
            f"cannot make a mesh: no surface at threshold {level:g}, the density lies in [0, {peak:.3g}]; "
            "choose a threshold inside, or none for an automatic one"
        )
    surface = without_floaters(*level_set(field, sampled, level), keep)
    vertices, corners = simplify(*surface, faces)
    normals = vertex_normals(vertices, corners)
    colors = seen_colors(field, vertices, normals, sampled.cell)
    parts = (vertices, corners, normals, colors)
    return Mesh(*(part.cpu() for part in (_textured(field, parts, sampled.cell, texture) if texture else parts)))


def _textured(field: Field, parts: tuple[Tensor, ...], cell: float, size: int) -> tuple[Tensor, ...]:
    """The parts of the same mesh, cut along the seams of an atlas, with the field's colors on a texture."""
    vertices, corners, normals, colors = parts
    atlas = unwrap(vertices, corners, size)

    def color(places: Tensor) -> Tensor:
        return seen_colors(field, places[:, :3], normalize(places[:, 3:], dim=-1), cell)

    image = bake(atlas, torch.cat([vertices, normals], 1), color, size)
    cut = (values[atlas.source] for values in (normals, colors))
    return vertices[atlas.source], atlas.faces, *cut, atlas.uv, image
