"""Meshes as Wavefront OBJ and as PLY, for tools that do not read glTF; colors stay in sRGB."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

from scoredistill.export.images import png
from scoredistill.export.mesh import Mesh
from scoredistill.files import replacing, write_safely

Z_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Our axes in those of a PLY: z up and the front towards -y, as Blender and other modelers read it."""
PLY_FORMAT = b"format binary_little_endian 1.0\n"
PLY_AXES = b"comment scoredistill: +z up, front -y\n"
"""The line of a PLY's header by which a reader knows its axes; `scenes/splats/mesh_file.py` reads it back."""


def write_obj(mesh: Mesh, path: Path) -> None:
    """Write `v x y z r g b`, `vn` and `f` lines; with a texture also `vt` lines, NAME.mtl and NAME-color.png.

    Blender and MeshLab read the colors after the position. In OBJ, v = 0 is the bottom of the texture. No file is
    replaced before all are written.
    """
    contents = {path: _obj(mesh, path.stem)}
    if mesh.texture is not None:
        picture = path.with_name(f"{path.stem}-color.png")
        material = f"newmtl surface\nKd 1 1 1\nmap_Kd {picture.name}\n"
        contents |= {path.with_suffix(".mtl"): material.encode(), picture: png(mesh.texture)}
    with contextlib.ExitStack() as stack:
        for name, content in contents.items():
            stack.enter_context(replacing(name)).write_bytes(content)


def _obj(mesh: Mesh, name: str) -> bytes:
    vertices = np.concatenate([mesh.vertices.numpy(), mesh.colors.numpy()], 1)
    corner = "%d//%d" if mesh.uv is None else "%d/%d/%d"
    file = io.BytesIO()
    file.write(b"# scoredistill, y up, front +z\n")
    np.savetxt(file, vertices, "v %.6f %.6f %.6f %.4f %.4f %.4f")
    np.savetxt(file, mesh.normals.numpy(), "vn %.4f %.4f %.4f")
    if mesh.uv is not None:
        np.savetxt(file, mesh.uv.numpy() * [1, -1] + [0, 1], "vt %.6f %.6f")
        file.write(f"mtllib {name}.mtl\nusemtl surface\n".encode())
    np.savetxt(file, np.repeat(mesh.faces.numpy() + 1, corner.count("d"), 1), f"f {corner} {corner} {corner}")
    return file.getvalue()


def write_ply(mesh: Mesh, path: Path) -> None:
    """Write binary PLY (z up, front -y) with normals and eight-bit vertex colors, without the texture."""
    import trimesh
    from trimesh.exchange.ply import export_ply

    colors = (mesh.colors.numpy() * 255).round().astype(np.uint8)
    surface = trimesh.Trimesh(
        mesh.vertices.numpy() @ Z_UP.T,
        mesh.faces.numpy(),
        vertex_normals=mesh.normals.numpy() @ Z_UP.T,
        vertex_colors=colors,
        process=False,
    )
    before, line, after = export_ply(surface, vertex_normal=True).partition(PLY_FORMAT)
    write_safely(path, before + line + PLY_AXES + after)
