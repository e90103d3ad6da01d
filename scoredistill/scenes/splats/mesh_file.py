"""Triangles of a mesh file, read within limits and fitted into the volume of a scene.

V vertices   F triangles   world: y up, front +z
"""

from __future__ import annotations

import io
import json
import logging
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.files import check_regular, read_limited

log = logging.getLogger(__name__)

FORMATS = ("glb", "gltf", "obj", "ply", "stl", "off")
"""What is read; no archives, whose content may be far larger than they are."""
BYTES = 512 * 2**20  # size of a file, and of each that it names, at most
TEXELS = 100_000_000  # pixels of a texture, at most
FACES = 10_000_000  # triangles, at most; of 2^24 or more torch cannot draw
VALUES = 6 * FACES  # elements of all accessors of a glTF, at most
HUGE = 1e30  # largest coordinate
SMALL = 0.25  # longer half side of the smallest mesh that stays as it is, relative to the volume's
FITTED = 0.6  # longer half side of a fitted mesh, relative to the volume's
GRAY = 0.5
Z_UP = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From the axes of our PLY files (z up, front -y; see `export/obj.py`) to ours."""
Z_UP_NOTE = b"comment scoredistill: +z up"


@dataclass(frozen=True)
class Triangles:
    """Triangles with colors at their corners, in world coordinates."""

    corners: Float[Tensor, "F 3 3"]
    rgb: Float[Tensor, "F 3 3"]  # as shown on a display, in [0, 1]


def read_triangles(path: Path, bounds: float) -> Triangles:
    """The triangles of a mesh file in the volume [-bounds, bounds]^3; a warning says how they were fitted into it.

    ValueError in one line where the file cannot be read, or holds no triangles of finite size.
    """
    kind = path.suffix.removeprefix(".").lower()
    try:
        check_regular(path, BYTES)
        if kind not in FORMATS:
            raise ValueError(f"its format is none of {', '.join(FORMATS)}: convert it to one, glb for example")
        corners, rgb = _triangles(_scene(path, kind))
    except Exception as error:  # readers of meshes raise anything: KeyError, IndexError, struct.error ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is no mesh that splats can start from: {reason}") from None
    return Triangles(fitted(corners, bounds, path).float(), rgb)


def areas(corners: Float[Tensor, "F 3 3"]) -> Float[Tensor, "F"]:
    """Twice the area of each triangle."""
    return torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)


def fitted(corners: Float[Tensor, "F 3 3"], bounds: float, path: Path) -> Float[Tensor, "F 3 3"]:
    """The mesh, moved and scaled unless it lies in the volume, around its center, and is not tiny."""
    low, high = corners.amin((0, 1)), corners.amax((0, 1))
    half = float((high - low).max()) / 2
    inside = bool((low >= -bounds).all() and (high <= bounds).all())
    around = bool((low <= 0).all() and (high >= 0).all())
    if inside and around and half >= SMALL * bounds:
        return corners
    factor, center = FITTED * bounds / half, (low + high) / 2
    log.warning(
        "%s spans %s to %s, not the volume from -%g to %g around the origin: it is scaled by %.3g and centered",
        *(path, _in_words(low), _in_words(high), bounds, bounds, factor),
    )
    return factor * (corners - center)


def _in_words(point: Float[Tensor, "3"]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in point.tolist()) + ")"


def _scene(path: Path, kind: str) -> Any:
    """The file as a trimesh scene; files that it names are read from its folder only."""
    import trimesh
    from trimesh.resolvers import FilePathResolver

    class Resolver(FilePathResolver):
        """Reads only regular files of limited size in the folder of the mesh."""

        def get(self, name: str) -> bytes:
            file = Path(os.path.realpath(path.parent / name.strip()))
            if not file.is_relative_to(os.path.realpath(path.parent)):
                raise ValueError(f"it names {name}, which lies outside its folder")
            if not file.exists():
                raise FileNotFoundError(f"it names {name}, which does not exist")
            return read_limited(file, BYTES)

    content = read_limited(path, BYTES)
    if kind in ("glb", "gltf"):
        _check_accessors(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]] if kind == "glb" else content)
    scene = trimesh.load_scene(io.BytesIO(content), kind, resolver=Resolver(str(path)), process=False)
    if kind == "ply" and Z_UP_NOTE in content.partition(b"end_header")[0]:
        turned = np.eye(4)
        turned[:3, :3] = Z_UP.numpy()
        scene.apply_transform(turned)
    return scene


def _check_accessors(header: bytes) -> None:
    """ValueError where the JSON of a glTF asks for more values than a mesh has: those without a buffer are zeros."""
    count = sum(accessor["count"] for accessor in json.loads(header).get("accessors", ()))
    if count > VALUES:
        raise ValueError(f"its accessors have {count:,} elements, at most {VALUES:,} are read")


def _triangles(scene: Any) -> tuple[Float[Tensor, "F 3 3"], Float[Tensor, "F 3 3"]]:
    """Corners and colors of all triangles of a scene; ValueError where one is not usable, or none has an area."""
    import trimesh

    pieces = [(place, scene.geometry[name]) for place, name in map(scene.graph.get, scene.graph.nodes_geometry)]
    pieces = [(place, piece) for place, piece in pieces if isinstance(piece, trimesh.Trimesh) and len(piece.faces)]
    count = sum(len(piece.faces) for _, piece in pieces)
    if not count:
        raise ValueError("it holds no triangles")
    if count > FACES:
        raise ValueError(f"it has {count:,} triangles, at most {FACES:,} are read: simplify it first")
    corners, rgb = [], []
    for place, piece in pieces:
        faces = np.asarray(piece.faces)
        if faces.min() < 0 or faces.max() >= len(piece.vertices):
            raise ValueError(f"a triangle has vertex {faces.max()}, of {len(piece.vertices)} vertices")
        corners.append(torch.tensor(trimesh.transform_points(piece.vertices, place)[faces]).double())
        rgb.append(_colors(piece)[torch.tensor(faces).long()])
    everything, colors = torch.cat(corners), torch.cat(rgb)
    if not bool(everything.abs().amax() < HUGE) or not bool(colors.isfinite().all()):
        raise ValueError("it has coordinates or colors that are not finite numbers")
    if not float(areas(everything).sum()) > 0:
        raise ValueError("none of its triangles has an area")
    return everything, colors.clamp(0, 1)


def _colors(mesh: Any) -> Float[Tensor, "V 3"]:
    """Vertex colors as shown on a display; those of glTF are linear light, those of other files and textures not."""
    visual = mesh.visual
    attributes = getattr(visual, "vertex_attributes", {})
    if "color" in attributes:  # beside a material, as trimesh reads glTF
        return displayed(torch.from_numpy(attributes["color"][:, :3].astype(np.float32)))
    if not visual.defined:
        return torch.full((len(mesh.vertices), 3), GRAY)
    if visual.kind == "texture":
        for image in filter(None, (getattr(visual.material, name, None) for name in ("image", "baseColorTexture"))):
            if image.width * image.height > TEXELS:
                raise ValueError(f"its texture has {image.width} x {image.height} pixels, at most {TEXELS:,} are read")
        visual = visual.to_color()
    return torch.from_numpy(visual.vertex_colors[:, :3].astype(np.float32) / 255)


def displayed(linear: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Linear light in [0, 1] to display values (IEC 61966-2-1)."""
    return (12.92 * linear).where(linear <= 0.0031308, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)
