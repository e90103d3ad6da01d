"""Meshes as Wavefront OBJ and as PLY, for tools that do not read glTF; colors stay in sRGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scoredistill.export.images import write_png
from scoredistill.export.mesh import Mesh


def write_obj(mesh: Mesh, path: Path) -> None:
    """Write `v x y z r g b`, `vn` and `f` lines; with a texture also `vt` lines, NAME.mtl and NAME-color.png.

    Blender and MeshLab read the colors after the position. In OBJ, v = 0 is the bottom of the texture.
    """
    vertices = np.concatenate([mesh.vertices.numpy(), mesh.colors.numpy()], 1)
    corner = "%d//%d" if mesh.uv is None else "%d/%d/%d"
    with path.open("wb") as file:
        file.write(b"# scoredistill, y up, front +z\n")
        np.savetxt(file, vertices, "v %.6f %.6f %.6f %.4f %.4f %.4f")
        np.savetxt(file, mesh.normals.numpy(), "vn %.4f %.4f %.4f")
        if mesh.uv is not None:
            np.savetxt(file, mesh.uv.numpy() * [1, -1] + [0, 1], "vt %.6f %.6f")
            file.write(f"mtllib {path.stem}.mtl\nusemtl surface\n".encode())
        np.savetxt(file, np.repeat(mesh.faces.numpy() + 1, corner.count("d"), 1), f"f {corner} {corner} {corner}")
    if mesh.texture is not None:
        picture = path.with_name(f"{path.stem}-color.png")
        path.with_suffix(".mtl").write_text(f"newmtl surface\nKd 1 1 1\nmap_Kd {picture.name}\n", encoding="utf-8")
        write_png(mesh.texture, picture)


def write_ply(mesh: Mesh, path: Path) -> None:
    """Write binary PLY with normals and eight-bit vertex colors, without the texture."""
    import trimesh
    from trimesh.exchange.ply import export_ply

    colors = (mesh.colors.numpy() * 255).round().astype(np.uint8)
    surface = trimesh.Trimesh(
        mesh.vertices.numpy(),
        mesh.faces.numpy(),
        vertex_normals=mesh.normals.numpy(),
        vertex_colors=colors,
        process=False,
    )
    path.write_bytes(export_ply(surface, vertex_normal=True))
