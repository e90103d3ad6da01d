"""The file formats that a scene is exported to: meshes of scenes with a volume, splat files of Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scoredistill.config import named
from scoredistill.contracts import HasGaussians, HasVolume
from scoredistill.export.glb import write_glb
from scoredistill.export.mesh import Mesh, extract
from scoredistill.export.obj import write_obj, write_ply
from scoredistill.export.splat_glb import write_splat_glb
from scoredistill.export.splat_ply import write_splat_ply
from scoredistill.files import check_replaceable
from scoredistill.recipes.recipe import OutputConfig, Recipe
from scoredistill.runs.evaluation.mesh_metrics import in_words, mesh_metrics

MESHES: dict[str, Callable[[Mesh, Path], None]] = {"glb": write_glb, "obj": write_obj, "ply": write_ply}
SPLATS = {"splat-ply": write_splat_ply, "splat-glb": write_splat_glb}
UNUSED = {"ply": ("texture",), **dict.fromkeys(SPLATS, ("resolution", "threshold", "faces", "texture"))}
"""The settings of a mesh that a format does not have."""


def file_name(kind: str) -> str:
    """mesh.glb, splats.ply ...; ValueError for an unknown format."""
    named("format", kind, MESHES | SPLATS)
    of_splats, _, suffix = kind.rpartition("-")
    return f"{'splats' if of_splats else 'mesh'}.{suffix}"


def format_of(path: Path | None, kind: str = "") -> str:
    """The format of a file: `kind`, or that of its suffix (of splats.ply and splats.glb the splats), or GLB.

    ValueError where neither names a format, or both name different ones.
    """
    if kind:
        suffix = file_name(kind).rpartition(".")[2]
        if path and path.suffix:
            check_output(path, suffix)
        return kind
    if path is None:
        return "glb"
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in MESHES:
        raise ValueError(
            f"the suffix of {path} names no format: take one of {', '.join(f'.{name}' for name in MESHES)}"
        )
    return f"splat-{suffix}" if path.stem == "splats" and f"splat-{suffix}" in SPLATS else suffix


def check_output(path: Path, *suffixes: str, folder_made: bool = False) -> None:
    """ValueError unless `path` has such a suffix and can be written: the content of a file is what its name says.

    With `folder_made` its folder may be missing where it can be made.
    """
    if path.suffix.removeprefix(".").lower() not in suffixes:
        kinds, ends = (
            " or ".join(suffix.upper() for suffix in suffixes),
            " or ".join(f".{suffix}" for suffix in suffixes),
        )
        raise ValueError(f"{path} will hold {kinds}, so its name must end in {ends}")
    check_replaceable(path, folder_made=folder_made)


def mesh_of(scene: Any, output: OutputConfig, device: str, *, texture: bool = True) -> Mesh:
    """The mesh of a scene; ValueError where it has no volume, or an empty one."""
    if not isinstance(scene, HasVolume):
        raise ValueError("this scene has no volume, so no mesh can be made of it: give it a method volume()")
    return extract(
        scene.volume(),
        resolution=output.mesh_resolution,
        threshold=output.mesh_threshold or None,
        faces=output.mesh_faces,
        texture=output.texture if texture else 0,
        device=device,
    )


def write(recipe: Recipe, scene: Any, path: Path, kind: str) -> str:
    """Write the scene in a format; returns what the file holds. ValueError where the scene has no such form."""
    if kind in SPLATS:
        if not isinstance(scene, HasGaussians):
            raise ValueError(f"{kind} is a format of splats, and this scene has none; formats: {', '.join(MESHES)}")
        splats = scene.gaussians()
        SPLATS[kind](splats, path)
        return f"{len(splats.means)} splats"
    mesh = mesh_of(scene, recipe.output, recipe.prior.device, texture=kind != "ply")  # PLY has no textures
    MESHES[kind](mesh, path)
    return in_words(mesh_metrics(recipe, scene, mesh))
