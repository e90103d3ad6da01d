"""What is made of a run when it stops: preview, turntable, mesh, metrics and the page."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from scoredistill.checkpoint import write_safely
from scoredistill.export.glb import write_glb
from scoredistill.export.images import enlarge, grid, preview, write_png, write_turntable
from scoredistill.export.mesh import extract
from scoredistill.export.page import Page, write_page
from scoredistill.fidelity import mesh_metrics
from scoredistill.folder import RunFolder
from scoredistill.gallery import evaluate, four_views, turntable
from scoredistill.methods.catalogue import CITATIONS, METHODS
from scoredistill.parts import background, build_scene
from scoredistill.run import Run, embedded_prior, preset_of, resolve
from scoredistill.scenery import Solid
from scoredistill.scenes.image import Image

SHOWN = 128  # pixels at least of an image in the preview


class DivergedError(Exception):
    """A run that came to its end with nothing to show for it."""


def finish(folder: RunFolder, scene: Solid | Image, trouble: str = "") -> dict[str, Any]:
    """Write everything that can be made of the scene as it is; returns the metrics.

    `trouble` says why the run broke off, if it did; then no mesh is made of it. Raises DivergedError, after
    everything else is written, where the scene holds nothing.
    """
    run = folder.run
    write_preview(run, scene, folder / "preview.png")
    metrics, empty = _summary(folder) | evaluate(run, scene), ""
    if not isinstance(scene, Image):
        frames = turntable(run, scene, *preset_of(run).turntable)
        write_turntable(frames, folder / "turntable.mp4", background=background(run))
        (folder / "mesh.glb").unlink(missing_ok=True)  # of an earlier state of this run
        try:
            metrics |= {} if trouble else _write_mesh(folder, scene)
        except ValueError as error:
            empty = str(error)
        if trouble or empty:
            metrics |= {"diverged": True, "reason": trouble or empty}
    write_safely(folder / "metrics.json", json.dumps(metrics, indent=2).encode())
    write_page(page(folder, metrics), folder / "index.html")
    if metrics["diverged"] and not trouble:
        raise DivergedError(empty or f"the run has diverged: its views are {metrics['reason']}")
    return metrics


def salvage(folder: RunFolder, scene: Solid | Image, error: Exception) -> str:
    """Finish a broken-off run from its newest checkpoint, as far as the disk allows; says what there is."""
    with contextlib.suppress(OSError):
        state = folder.load()
        if state is None:
            return f"{folder.path} holds its log, but no checkpoint yet"
        scene.load_state_dict(state["scene"])
        finish(folder, scene, trouble=str(error))
        return f"{folder.path} holds the checkpoint of step {state['index']}, the log and a preview"
    return f"{folder.path} holds what could be saved"


def write_preview(run: Run, scene: Solid | Image, path: Path) -> None:
    """Front, side, back and top with their normals; of a flat scene its images."""
    if isinstance(scene, Image):
        write_png(grid(enlarge(scene.pixels.detach().cpu().clamp(0, 1), SHOWN)), path)
    else:
        write_png(preview(four_views(run, scene), background(run)), path)


def page(folder: RunFolder, metrics: dict[str, Any]) -> Page:
    """The page of a run from what lies in its folder."""
    run, log = folder.run, folder.log()
    times = {record["step"]: record.get("t") for record in log}
    probes = [
        (f"step {index}" + (f", t = {times[index]:.2f}" if times.get(index) else ""), _titled(pictures))
        for index, pictures in folder.traces().items()
    ]
    return Page(
        title=run.prompt,
        subtitle=f"{run.method}, {run.scene} scene, prior {Path(run.prior).name}, seed {run.seed}",
        mesh=_there(folder / "mesh.glb"),
        video=_there(folder / "turntable.mp4"),
        pictures={"front, side, back, top" if run.scene != "image" else "images": folder / "preview.png"},
        probes=probes,
        log=log,
        metrics={key: value for key, value in metrics.items() if key not in ("by_view", "prompt")},
        config={key: value for key, value in _flat(run).items() if value not in (None, "")},
        method=inspect.getdoc(METHODS[run.method]) or "",
        citation=CITATIONS[run.method],
        command=command(run),
    )


def command(run: Run) -> str:
    """The command line that makes this run again: the flags that differ from the preset's."""
    bare = Run(run.prompt, method=run.method, scene=run.scene, prior=run.prior, preset=run.preset)
    kind = "image" if run.scene == "image" else "generate"
    unsaid = {"method": Run.method, "prior": embedded_prior(run), "preset": Run.preset, "asset": run.seed}
    unsaid["scene"] = "image" if kind == "image" else Run.scene
    defaults = _flat(resolve(bare)) | unsaid
    flags = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in _flat(run).items()
        if value != defaults[name] and name not in ("prompt", "device", "out")
    ]
    return " ".join(["scoredistill", kind, shlex.quote(run.prompt), *flags])


def _flat(run: Run) -> dict[str, Any]:
    """All that a run was told, its method's settings among the rest."""
    told = asdict(run)
    return told | told.pop("settings")


@torch.no_grad()
def _write_mesh(folder: RunFolder, scene: Solid) -> dict[str, Any]:
    """Write mesh.glb; returns what can be said of it, ValueError where there is nothing to see."""
    run = folder.run
    mesh = extract(scene.volume(), **preset_of(run).mesh, device=run.device)
    origin = {"prompt": run.prompt, "method": run.method, "seed": run.seed}
    write_glb(mesh, folder / "mesh.glb", name=run.prompt, extras=origin)
    return mesh_metrics(run, scene, mesh)


def _summary(folder: RunFolder) -> dict[str, Any]:
    """Which run this is, how far it came and how long it took."""
    run, log = folder.run, folder.log()
    done, seconds = (log[-1]["step"] + 1, log[-1]["seconds"]) if log else (0, 0.0)
    return {"prompt": run.prompt, "method": run.method, "seed": run.seed, "steps": done, "seconds": seconds}


def _titled(pictures: dict[str, Path]) -> dict[str, Path]:
    """1-render, 2-noised, ... without the numbers that keep them in order."""
    return {name.split("-", 1)[-1]: path for name, path in pictures.items()}


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


def open_scene(path: Path) -> tuple[Run, Solid | Image]:
    """The run in a folder and its scene at the newest checkpoint, on the best device that is here."""
    folder = RunFolder.open(path)
    state = folder.load()
    if state is None:
        raise ValueError(f"{path} has no checkpoint yet; go on with: scoredistill resume {path}")
    run = resolve(dataclasses.replace(folder.run, device="auto"))
    scene = build_scene(run)
    scene.load_state_dict(state["scene"])
    return run, scene


def open_volume(path: Path) -> tuple[Run, Solid]:
    """As `open_scene`; ValueError for a flat scene, of which no views or meshes can be made."""
    run, scene = open_scene(path)
    if isinstance(scene, Image):
        raise ValueError(f"{path} is a run on a flat image; only 3-D scenes have views and meshes")
    return run, scene
