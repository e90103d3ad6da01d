"""What is made of a run when it stops: preview, turntable, mesh, metrics and the page."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from scoredistill.config import dotted, to_plain
from scoredistill.contracts import Frame, HasGaussians, HasPixels, HasVolume
from scoredistill.export.glb import write_glb
from scoredistill.export.images import enlarge, grid, preview, write_png, write_turntable
from scoredistill.export.page import Page, write_page
from scoredistill.export.splat_stage import SplatStage
from scoredistill.files import json_bytes, write_safely
from scoredistill.recipes.build import background_color, build_scene_to_load
from scoredistill.recipes.command import command, command_line
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.preset import resolved_device
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.runs.evaluation.mesh_metrics import mesh_metrics
from scoredistill.runs.evaluation.scene_metrics import evaluate
from scoredistill.runs.folder import METRICS, PAGE, RunFolder, title_of
from scoredistill.runs.formats import mesh_of
from scoredistill.runs.memory import peak_memory
from scoredistill.runs.renders import RESOLUTION, film, four_views, stand_ins

SHOWN = 128  # pixels, at least, of an image in the preview


class DivergedError(Exception):
    """A run that came to its end with nothing to show for it."""


def finish(
    folder: RunFolder, scene: Any, trouble: str = "", show: Callable[[str], object] = lambda part: None
) -> dict[str, Any]:
    """Write everything that can be made of the scene as it is; returns the metrics.

    `show` is called with the name of each part when it begins: preview, metrics, turntable, mesh, page. `trouble` says
    why the run broke off, if it did; then no mesh is made of it. Raises DivergedError, after everything else is
    written, where the scene is empty.
    """
    recipe, peak = folder.recipe, peak_memory()
    folder.check_config()
    show("preview")
    views = write_preview(recipe, scene, folder / "preview.png")
    show("metrics")
    filmed, measured = (scene, scene) if views is None else stand_ins(recipe, scene, views)
    metrics, empty = _summary(folder) | {"peak_mb": peak} | evaluate(recipe, measured), ""
    if not isinstance(scene, HasPixels):
        show("turntable")
        write_turntable(film(recipe, filmed), folder / "turntable.mp4", background=background_color(recipe))
        (folder / "mesh.glb").unlink(missing_ok=True)  # of an earlier state of this run
        show("mesh")
        try:
            metrics |= _write_mesh(folder, scene, measured) if isinstance(scene, HasVolume) and not trouble else {}
        except ValueError as error:
            empty = str(error)
    if trouble or empty:
        metrics |= {"diverged": True, "reason": trouble or empty}
    show("page")
    write_safely(folder / METRICS, json_bytes(metrics))
    write_page(page(folder, metrics, scene), folder / PAGE)
    if metrics["diverged"] and not trouble:
        raise DivergedError(empty or f"the run has diverged: its views are {metrics['reason']}")
    return metrics


def salvage(folder: RunFolder, scene: Any, why: str) -> str:
    """Finish a broken-off run from its newest checkpoint, as far as that goes; returns what the folder holds."""
    held = "what could be saved"
    with contextlib.suppress(Exception):  # a full disk, no memory, a GPU that no longer answers
        state = folder.load(accept=True)
        if state is None:
            return f"{folder.path} holds its log, but no checkpoint yet"
        held = f"the checkpoint of step {state['index']} and the log"
        scene.load_state_dict(state["scene"])
        finish(folder, scene, trouble=why)
        held = f"the checkpoint of step {state['index']}, the log and a preview"
    return f"{folder.path} holds {held}"


def show_so_far(folder: RunFolder, scene: Any) -> None:
    """Renew the preview and the page during a run; of its end they hold nothing. No random stream is touched."""
    write_preview(folder.recipe, scene, folder / "preview.png", min(folder.recipe.training.resolution, RESOLUTION))
    so_far = page(folder, _summary(folder), scene)
    write_page(replace(so_far, mesh=None, video=None), folder / PAGE)


def write_preview(recipe: Recipe, scene: Any, path: Path, resolution: int | None = None) -> Frame | None:
    """Write front, side, back and top with their normals and return them; of a flat scene its images, and None."""
    if isinstance(scene, HasPixels):
        write_png(grid(enlarge(scene.pixels.detach().cpu().clamp(0, 1), SHOWN)), path)
        return None
    views = four_views(recipe, scene, resolution)
    write_png(preview(views, background_color(recipe)), path)
    return views


def page(folder: RunFolder, metrics: dict[str, Any], scene: Any) -> Page:
    """The page of a run from the files in its folder, and the splats of its scene if it has any."""
    recipe, log = folder.recipe, folder.log()
    times = {record["step"]: record.get("t") for record in log}
    probes = [
        (_moment(index, times.get(index)), {title_of(name): path for name, path in pictures.items()})
        for index, pictures in folder.traces().items()
    ]
    method, kind = name_of(recipe.method), name_of(recipe.scene)
    return Page(
        title=recipe.prompt.text,
        subtitle=f"{method}, {kind} scene, prior {Path(recipe.prior.name).name}, seed {recipe.training.seed}",
        mesh=_existing(folder / "mesh.glb"),
        video=_existing(folder / "turntable.mp4"),
        splats=_splats(recipe, scene) if isinstance(scene, HasGaussians) else None,
        pictures={"images" if recipe.flat else "front, side, back, top": folder / "preview.png"},
        probes=probes,
        log=log,
        metrics={key: value for key, value in metrics.items() if key not in ("by_view", "prompt")},
        config={name: value for name, value in dotted(to_plain(recipe)).items() if value != ""},
        method=inspect.getdoc(type(recipe.method)) or "",
        citation=recipe.method.citation,
        command=command(recipe),
    )


@torch.no_grad()
def _write_mesh(folder: RunFolder, scene: Any, measured: Any) -> dict[str, Any]:
    """Write mesh.glb; returns its metrics against renders of `measured`, ValueError where the volume is empty."""
    recipe = folder.recipe
    mesh = mesh_of(scene, recipe.output, recipe.prior.device)
    text, seed = recipe.prompt.text, recipe.training.seed
    write_glb(
        mesh, folder / "mesh.glb", name=text, extras={"prompt": text, "method": name_of(recipe.method), "seed": seed}
    )
    return mesh_metrics(recipe, measured, mesh)


def _splats(recipe: Recipe, scene: HasGaussians) -> SplatStage:
    """The splats as they are, seen from the middle distance of the training views."""
    return SplatStage(scene.gaussians(), *recipe.views.middle(), tuple(background_color(recipe).tolist()))


def _summary(folder: RunFolder) -> dict[str, Any]:
    """Which run this is, how far it came and how long it took."""
    recipe = folder.recipe
    run = {"prompt": recipe.prompt.text, "method": name_of(recipe.method), "seed": recipe.training.seed}
    return run | folder.progress()


def _moment(step: int, t: float | None) -> str:
    return f"step {step}" if t is None else f"step {step}, t = {t:.2f}"


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def open_scene(path: Path) -> tuple[Recipe, Any]:
    """The recipe in a folder and its scene at the newest checkpoint, on the best device of this machine."""
    folder = RunFolder.open(path)
    state = folder.load()
    if state is None:
        raise ValueError(f"{path} has no checkpoint yet; go on with: {command_line('resume', path)}")
    recipe = changed(folder.recipe, "prior.device", resolved_device("auto"))
    scene = build_scene_to_load(recipe)
    scene.load_state_dict(state["scene"])
    return recipe, scene


def open_3d_scene(path: Path) -> tuple[Recipe, Any]:
    """As `open_scene`; ValueError for a flat scene, which has no views and no mesh."""
    recipe, scene = open_scene(path)
    if isinstance(scene, HasPixels):
        raise ValueError(f"{path} is a 2D run; only 3D scenes have views and meshes")
    return recipe, scene
