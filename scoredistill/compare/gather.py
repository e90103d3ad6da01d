"""Reading the runs that are compared: each scene at its newest checkpoint, seen by the same cameras."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from scoredistill.contracts import HasPixels
from scoredistill.export.images import enlarge, grid, webp
from scoredistill.files import digest
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.evaluation.measures import Measures
from scoredistill.runs.evaluation.sets import Evaluated, of_sets
from scoredistill.runs.finish import open_scene
from scoredistill.runs.folder import CONFIG, RunFolder, check_distinct
from scoredistill.runs.log import Record
from scoredistill.runs.renders import turntable
from scoredistill.runs.table import Row, evaluated_scene
from scoredistill.views import OrbitConfig

RECORDS = 2000  # of a log, at most: enough for curves a few hundred pixels wide
FLAT = 128  # smallest side in pixels of a flat scene's images

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Run:
    """A run as it is compared."""

    path: Path
    recipe: Recipe
    row: Row  # of the table
    log: Sequence[Record]
    picture: bytes  # WebP: the turntable's frames side by side, or the images of a flat scene
    turns: bool  # whether the picture holds the frames of a turntable

    @property
    def prompt(self) -> tuple[str, str]:
        """What distinguishes prompts: the text, and the content of the picture."""
        file = self.recipe.prompt.picture.file
        return self.recipe.prompt.text, digest(Path(file)) if file else ""

    @property
    def seed(self) -> tuple[int, int]:
        """The seed, and the seed of the per-asset noise."""
        return self.recipe.training.seed, self.recipe.training.asset_seed

    @property
    def seed_name(self) -> str:
        """The seed in words; that of the per-asset noise where it is another."""
        seed, asset = self.seed
        return f"seed {seed}" + (f", asset seed {asset}" if asset != seed else "")


@dataclass(frozen=True)
class Gathered:
    """The runs that can be compared, and why the others cannot."""

    runs: Sequence[Run]
    left_out: Sequence[tuple[Path, str]]
    sets: Sequence[Row] = ()  # of runs that differ in their seeds only


def run_folders(paths: Sequence[Path]) -> list[Path]:
    """The run folders among `paths` and, at any depth, in them.

    ValueError in one line where there is none, or one is named twice.
    """
    found: list[Path] = []
    for path in paths:
        inside = list(_inside(path))
        if not inside:
            raise ValueError(f"{path} is neither a run folder nor a folder that holds some: none has a {CONFIG}")
        found += inside
    check_distinct(found)
    return found


def _inside(path: Path) -> Iterator[Path]:
    """The run folders in a folder, itself included, by name; links are not followed."""
    for place, names, files in os.walk(path):
        names.sort()
        if CONFIG in files:
            names.clear()
            yield Path(place)


def gather(paths: Sequence[Path], frames: int, resolution: int, measures: Measures, progress: Progress) -> Gathered:
    """Open, render and evaluate the runs; one that cannot be opened is left out, with the reason.

    The cameras of all turntables are those of the first 3D scene: at the middle distance of its training views.
    """
    runs: list[Run] = []
    measured: list[Evaluated] = []
    left_out: list[tuple[Path, str]] = []
    cameras: OrbitConfig | None = None
    for number, path in enumerate(paths, 1):
        progress(f"run {number} of {len(paths)}")
        try:
            recipe, scene = open_scene(path)
            flat = isinstance(scene, HasPixels)
            cameras = cameras if flat else cameras or recipe.views
            picture = _flat_picture(scene) if flat else _frames(recipe, scene, cameras, frames, resolution)
            folder = RunFolder(path, recipe)
            log = folder.log()
            found = evaluated_scene(folder, scene, measures)
            runs.append(Run(path, recipe, found.row, _thinned(log), picture, not flat))
            measured.append(found)
        except Exception as error:  # a folder may be damaged in any way, and code of one's own may raise anything
            left_out.append((path, _reason(error)))
    progress("sets of runs")
    return Gathered(runs, left_out, of_sets(measured, measures.sets))


def _frames(recipe: Recipe, scene: Any, cameras: OrbitConfig | None, frames: int, resolution: int) -> bytes:
    seen = replace(recipe, views=cameras)
    rgb = torch.cat([frame.rgb.cpu() for frame in turntable(seen, scene, frames, resolution)])
    return webp(grid(rgb.clamp(0, 1), columns=frames, gap=0))


def _flat_picture(scene: Any) -> bytes:
    return webp(grid(enlarge(scene.pixels.detach().cpu().clamp(0, 1), FLAT)))


def _thinned(log: list[Record]) -> list[Record]:
    """At most `RECORDS` records, evenly, the last one included."""
    stride = -(-len(log) // RECORDS) or 1
    return log[::-1][::stride][::-1]


def _reason(error: Exception) -> str:
    """The first line of an error, with its kind where it is no message of this package."""
    first = next(iter(str(error).strip().splitlines()), "")
    return first if isinstance(error, ValueError) and first else f"{type(error).__name__}: {first}".rstrip(": ")
