"""Meshes beside the renders of their scenes: PSNR over 8 views, file sizes, faces and seconds by part.

    python benchmarks/meshes.py runs/text_to_3d/*

Reads finished run folders and changes nothing in them. Writes one table, one JSON file with a row for each run (the
seconds of `bake` include those of `rendered_colors`), and one contact sheet (for each run the front and side of the
render, then of the mesh). If node finds the package `gltf-validator` (npm install gltf-validator), every GLB is
validated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.functional import avg_pool2d

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from scoredistill.evaluate.report import markdown
from scoredistill.export import mesh as parts
from scoredistill.export.glb import write_glb
from scoredistill.export.images import grid, write_png
from scoredistill.export.obj import write_ply
from scoredistill.runs.evaluation.mesh_metrics import compare, mesh_metrics
from scoredistill.runs.finish import open_3d_scene

VALIDATE = """
const validator = require('gltf-validator');
const data = new Uint8Array(require('fs').readFileSync(process.argv[1]));
validator.validateBytes(data).then(report => console.log(JSON.stringify(report.issues)));
"""
PARTS = ("sample", "render_threshold", "level_set", "without_floaters", "simplify", "unwrap", "bake", "rendered_colors")


def timed(function: Callable[..., Any], seconds: dict[str, float]) -> Callable[..., Any]:
    """The same function, which adds the time it takes to `seconds` under its name."""

    def call(*arguments: Any, **settings: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments, **settings)
        name = function.__name__
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
        return result

    return call


def issues(path: Path, folder: Path) -> dict[str, int]:
    """What the Khronos validator counts in a GLB; nothing where it is not installed in `folder`."""
    if not shutil.which("node"):
        return {}
    done = subprocess.run(["node", "-e", VALIDATE, str(path)], capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        return {}
    found = json.loads(done.stdout)
    return {"errors": found["numErrors"], "warnings": found["numWarnings"]}


def measure(folder: Path, validator: Path, **settings: int) -> tuple[dict[str, Any], torch.Tensor]:
    """One row of the table, and pictures [4 3 H W]: front and side of the render, then of the mesh."""
    recipe, scene = open_3d_scene(folder)
    seconds: dict[str, float] = {}
    with contextlib.ExitStack() as clocks:
        for name in PARTS:
            clocks.enter_context(patch.object(parts, name, timed(getattr(parts, name), seconds)))
        mesh = timed(parts.extract, seconds)(scene.volume(), device=recipe.prior.device, **settings)
    with tempfile.TemporaryDirectory() as temporary:
        glb, ply = (Path(temporary) / name for name in ("mesh.glb", "mesh.ply"))
        timed(write_glb, seconds)(mesh, glb)
        write_ply(mesh, ply)
        sizes = {"glb_bytes": glb.stat().st_size, "ply_bytes": ply.stat().st_size}
        counted = issues(glb.absolute(), validator)
    psnr = timed(mesh_metrics, seconds)(recipe, scene, mesh)
    rendered, drawn = compare(recipe, scene, mesh)
    row = {"run": folder.name, **psnr, "vertices": len(mesh.vertices), **sizes, **counted, "seconds": seconds}
    return row, torch.cat([rendered[[0, 2]], drawn[[0, 2]]])


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as a table, and a last line of their medians."""
    numbers = ("mesh_psnr", "mesh_faces", "glb_bytes", "errors", "warnings")
    table = [
        {"run": row["run"]}
        | {name: round(row[name], 2) for name in numbers if name in row}
        | {"extract": round(row["seconds"]["extract"], 2)}
        for row in rows
    ]
    names = [name for name in table[0] if name != "run"]
    return [*table, {"run": "median"} | {name: statistics.median(row[name] for row in table) for name in names}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="of runs; by default runs/text_to_3d/*")
    parser.add_argument("--faces", type=int, default=parts.FACES)
    parser.add_argument("--texture", type=int, default=parts.TEXTURE)
    parser.add_argument("--validator", type=Path, default=Path(), help="the folder where npm installed gltf-validator")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/meshes.png"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/meshes.json"))
    flags = parser.parse_args()
    rows, pictures, without = [], [], []
    for folder in flags.folders or sorted(Path("runs/text_to_3d").iterdir()):
        try:
            row, shown = measure(folder, flags.validator, faces=flags.faces, texture=flags.texture)
        except ValueError as error:  # no checkpoint, or nothing to see in the scene
            without.append(f"{folder.name}: {error}")
            continue
        rows.append(row)
        pictures.append(shown)
        print(f"{row['run']}: {row['mesh_psnr']:.2f} dB, {row['seconds']['extract']:.1f} s", flush=True)
    table = summary(rows)
    record = {
        "views": 8,
        "size": 256,
        "faces": flags.faces,
        "texture": flags.texture,
        "threads": torch.get_num_threads(),
    }
    flags.out.write_text(json.dumps(record | {"without": without, "rows": rows} | provenance(), indent=2) + "\n")
    flags.out.with_suffix(".md").write_text("\n".join([markdown(table), *without]) + "\n")
    write_png(grid(avg_pool2d(torch.cat(pictures), 2), columns=8), flags.picture)
    print(markdown(table))


if __name__ == "__main__":
    main()
