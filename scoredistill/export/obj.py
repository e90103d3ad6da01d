"""Meshes as Wavefront OBJ and as PLY, for tools that do not read glTF; colors stay as shown on a display."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scoredistill.export.mesh import Mesh


def write_obj(mesh: Mesh, path: Path) -> None:
    """Write `v x y z r g b`, `vn` and `f` lines; Blender and MeshLab read the colors after the position."""
    vertices = np.concatenate([mesh.vertices.numpy(), mesh.colors.numpy()], 1)
    with path.open("wb") as file:
        file.write(b"# scoredistill, y up, front +z\n")
        np.savetxt(file, vertices, "v %.6f %.6f %.6f %.4f %.4f %.4f")
        np.savetxt(file, mesh.normals.numpy(), "vn %.4f %.4f %.4f")
        np.savetxt(file, np.repeat(mesh.faces.numpy() + 1, 2, 1), "f %d//%d %d//%d %d//%d")


def write_ply(mesh: Mesh, path: Path) -> None:
    """Write binary PLY with normals and eight-bit colors."""
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
