"""How close a mesh is to the renders of the scene that it was extracted from.

B views   H W pixels
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from scoredistill.camera import Cameras
from scoredistill.export.mesh import Mesh
from scoredistill.recipes.build import background_color
from scoredistill.recipes.recipe import Recipe
from scoredistill.render.shading import daylight
from scoredistill.render.triangles import rasterize_mesh
from scoredistill.runs.renders import ring_cameras, turntable

VIEWS, RESOLUTION = 8, 256


@torch.no_grad()
def compare(recipe: Recipe, scene: Any, mesh: Mesh) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 3 H W"]]:
    """Renders of the scene and of its mesh in the same light, over the same background, from 8 views around."""
    rendered = torch.cat([frame.rgb for frame in turntable(recipe, scene, VIEWS, RESOLUTION)]).cpu()
    cameras, background = ring_cameras(recipe, VIEWS, RESOLUTION).to("cpu"), background_color(recipe).cpu()
    return rendered, picture(mesh, cameras, background, lit=getattr(scene, "lit", False))


def mesh_metrics(recipe: Recipe, scene: Any, mesh: Mesh) -> dict[str, Any]:
    """`mesh_faces`, and `mesh_psnr`: -10 log10 of the mean squared difference over all pixels of `compare`, in dB."""
    rendered, drawn = compare(recipe, scene, mesh)
    error = float((rendered - drawn).square().mean())
    return {"mesh_faces": len(mesh.faces), "mesh_psnr": -10 * math.log10(max(error, 1e-12))}


def in_words(metrics: Mapping[str, Any]) -> str:
    """The metrics of a mesh as a phrase."""
    return f"{metrics['mesh_faces']} faces, {metrics['mesh_psnr']:.1f} dB PSNR to the renders"


def picture(
    mesh: Mesh, cameras: Cameras, background: Float[Tensor, "3"], *, lit: bool = False
) -> Float[Tensor, "B 3 H W"]:
    """A mesh seen by cameras, one ray per pixel: its texture or its vertex colors; `lit` by the scenes' daylight.

    Texels are read as glTF says, bilinear with centers at (index + 0.5) / size; without mipmaps.
    """
    hits = rasterize_mesh(mesh.vertices, mesh.faces, cameras)
    if mesh.uv is None or mesh.texture is None:
        rgb = hits.interpolate(mesh.colors, mesh.faces)
    else:
        place = 2 * hits.interpolate(mesh.uv, mesh.faces) - 1
        images = mesh.texture.expand(len(place), -1, -1, -1)
        rgb = grid_sample(images, place, align_corners=False, padding_mode="border").movedim(1, -1)
    if lit:
        _, directions = cameras.rays()
        normals = normalize(hits.interpolate(mesh.normals, mesh.faces), dim=-1, eps=1e-6)
        rgb = rgb * daylight(normals, -directions)[..., None]
    return rgb.where((hits.face >= 0)[..., None], background).movedim(-1, 1)
