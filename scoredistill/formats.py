"""The file formats that a run's scene is exported to: meshes of any scene, splat files of splats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scoredistill.export.glb import write_glb
from scoredistill.export.mesh import Mesh, extract
from scoredistill.export.obj import write_obj, write_ply
from scoredistill.export.splat_glb import write_splat_glb
from scoredistill.export.splat_ply import write_splat_ply
from scoredistill.fidelity import in_words, mesh_metrics
from scoredistill.run import Run
from scoredistill.scenery import Solid
from scoredistill.scenes.splats import Splats
from scoredistill.settings import named

MESHES: dict[str, Callable[[Mesh, Path], None]] = {"glb": write_glb, "obj": write_obj, "ply": write_ply}
SPLATS = {"splat-ply": write_splat_ply, "splat-glb": write_splat_glb}


def file_name(kind: str) -> str:
    """mesh.glb, splats.ply ...; ValueError for an unknown format."""
    named("format", kind, MESHES | SPLATS)
    of_splats, _, suffix = kind.rpartition("-")
    return f"{'splats' if of_splats else 'mesh'}.{suffix}"


def write(run: Run, scene: Solid, path: Path, kind: str, **settings: Any) -> str:
    """Write the scene in a format; says what the file holds. ValueError where the scene has no such form.

    `settings` are those of `extract`, for meshes.
    """
    if kind in SPLATS:
        if not isinstance(scene, Splats):
            raise ValueError(
                f"{kind} is a format of splats, and this run has a {run.scene}; formats: {', '.join(MESHES)}"
            )
        splats = scene.gaussians()
        SPLATS[kind](splats, path)
        return f"{len(splats.means)} splats"
    bare = {"texture": 0} if kind == "ply" else {}  # which has no place for one
    mesh = extract(scene.volume(), **settings | bare, device=run.device)
    MESHES[kind](mesh, path)
    return in_words(mesh_metrics(run, scene, mesh))
