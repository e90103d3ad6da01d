"""Runs that several studies need: made once, and copied from one study's folder to the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from scoredistill.config import to_plain
from scoredistill.files import digest
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.runs.folder import PICTURE
from scoredistill.studies.cache import places
from scoredistill.studies.report import CACHE, SWEEP
from scoredistill.sweep.trial import Trial


def reuse(planned: Sequence[Trial], folder: Path, others: Sequence[Path]) -> int:
    """Copy finished runs with the recipes of `planned`, and their measurements, from other studies; returns how many.

    A run that `folder` has begun is left alone. ValueError as `check_reusable`.
    """
    check_reusable(others)
    finished = {str(_identity(trial.recipe)): trial for other in others for trial in _finished(other)}
    found = [(trial, finished.get(str(_identity(trial.recipe)))) for trial in planned if trial.state() == "new"]
    pairs = [(trial, source) for trial, source in found if source is not None]
    for trial, source in pairs:
        measured = [place for place in places(source.path.parents[1] / CACHE, source.name) if place.is_dir()]
        if measured:
            _copy(measured[0], places(folder / CACHE, trial.name)[0])
        _copy(source.path, trial.path)
    return len(pairs)


def _identity(recipe: Recipe) -> object:
    """The settings of a run, whatever device it was made on; its picture by its content: each run has its own copy."""
    picture = Path(recipe.prompt.picture.file)
    if picture.is_file():
        recipe = changed(recipe, PICTURE, digest(picture))
    return to_plain(changed(recipe, "prior.device", "cpu"))


def check_reusable(studies: Sequence[Path]) -> None:
    """ValueError in one line for a folder that holds no study in 3D."""
    for study in studies:
        if not (study / SWEEP).is_dir():
            raise ValueError(
                f"{study} is not the folder of a study in 3D: --reuse expects one that `scoredistill study` made"
            )


def _finished(study: Path) -> Iterator[Trial]:
    for path in sorted((study / SWEEP).glob("[!.]*")):  # not what a copy left unfinished
        with suppress(ValueError, OSError):  # no run, or a damaged one
            if (trial := Trial.open(path)).state() == "done":
                yield trial


def _copy(source: Path, target: Path) -> None:
    """Copy a folder as a whole: whoever finds `target` finds all of it."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns(".lock"))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
