"""How like a mesh is to the renders of the scene that it was made of.

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
from scoredistill.gallery import all_round, turntable
from scoredistill.parts import background
from scoredistill.render.shading import daylight
from scoredistill.render.triangles import see
from scoredistill.run import Run
from scoredistill.scenery import Solid
from scoredistill.scenes.nerf import NeRF

VIEWS, SIZE = 8, 256


@torch.no_grad()
def compare(run: Run, scene: Solid, mesh: Mesh) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 3 H W"]]:
    """The scene and its mesh in the same light, over the same background, from 8 views all round."""
    rendered = torch.cat([frame.rgb for frame in turntable(run, scene, VIEWS, SIZE)]).cpu()
    lit = isinstance(scene, NeRF) and scene.settings.shading == "daylight"  # other scenes render plain colors
    return rendered, picture(mesh, all_round(run, VIEWS, SIZE).to("cpu"), background(run).cpu(), lit=lit)


def mesh_metrics(run: Run, scene: Solid, mesh: Mesh) -> dict[str, Any]:
    """`mesh_faces`, and `mesh_psnr`: -10 log10 of the mean squared difference over all pixels of `compare`, in dB."""
    rendered, drawn = compare(run, scene, mesh)
    error = float((rendered - drawn).square().mean())
    return {"mesh_faces": len(mesh.faces), "mesh_psnr": -10 * math.log10(max(error, 1e-12))}


def in_words(metrics: Mapping[str, Any]) -> str:
    """What `mesh_metrics` found, for a terminal."""
    return f"{metrics['mesh_faces']} faces, {metrics['mesh_psnr']:.1f} dB beside the renders"


def picture(
    mesh: Mesh, cameras: Cameras, background: Float[Tensor, "3"], *, lit: bool = False
) -> Float[Tensor, "B 3 H W"]:
    """What cameras see of a mesh, one ray a pixel: its texture, or else its vertex colors; `lit` by the scenes' light.

    Texels are read as glTF says, bilinear with centers at (index + 0.5) / size; without mipmaps.
    """
    hits = see(mesh.vertices, mesh.faces, cameras)
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
