"""The folder of a run. Everything else in it is made from the first four.

config.yaml   log.jsonl   checkpoint/   trace/     written during the run
preview.png   turntable.mp4   mesh.glb   metrics.json   index.html     written when it stops
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from scoredistill.export.images import is_whole_png, write_png
from scoredistill.files import PART, read_limited, read_object, remove_unfinished, write_safely
from scoredistill.recipes.command import command_line
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.recipes.text import read_recipe, write_recipe
from scoredistill.recipes.tree import LONGEST
from scoredistill.runs import checkpoint
from scoredistill.runs import log as records
from scoredistill.runs.lock import NAME as LOCK
from scoredistill.runs.lock import hold
from scoredistill.runs.log import Record
from scoredistill.runs.origin import changed_settings

PICTURE = "prompt.picture.file"

CONFIG, LOG, CHECKPOINTS, TRACES = "config.yaml", "log.jsonl", "checkpoint", "trace"
OWN_PICTURE = "picture"  # with the suffix of the file that it is a copy of, if it has any
METRICS, PAGE = "metrics.json", "index.html"  # written last, in this order
LARGEST = 1 << 20  # bytes of the metrics that are read
HEADER = "# run it again: scoredistill generate --config THIS_FILE --out ANOTHER_FOLDER\n"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """A folder on the disk with the recipe of its run."""

    path: Path
    recipe: Recipe
    edited: bool = False  # whether somebody else has changed config.yaml

    @classmethod
    def create(cls, recipe: Recipe, path: Path) -> RunFolder:
        """A new folder with the recipe and a copy of its picture; ValueError if it holds anything already.

        A folder with nothing but what a killed process left unfinished is free. OSError in one line if it cannot be
        written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            with hold(path):
                if any(not _unfinished(file, recipe) for file in path.iterdir()):
                    raise ValueError(_occupied(path, recipe))
                remove_unfinished(path)
                folder = cls(path, _with_own_picture(recipe, path))
                folder.write_config()
        except OSError as error:
            raise type(error)(error.errno, f"cannot write the run folder {path} ({error.strerror})") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of an earlier run; ValueError if it is not one."""
        config = path / CONFIG
        if not config.is_file():
            raise ValueError(f"{path} is not a run folder: it has no {CONFIG}")
        text = _text_of(config)
        recipe = _recipe_in(text, config)
        settings = "".join(text.splitlines(keepends=True)[2:])
        return cls(path, recipe, edited=text != _headed(settings))

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process, without what an earlier one left unfinished.

        ValueError if another process holds it, or where it has links in place of its own folders.
        """
        for name in (CHECKPOINTS, TRACES):
            if (self / name).is_symlink():
                raise ValueError(f"{self / name} is a link, and links out of a run folder are not followed")
        with hold(self.path):
            for place in (self.path, self / CHECKPOINTS, self / TRACES):
                if place.is_dir():
                    remove_unfinished(place)
            yield

    def with_recipe(self, recipe: Recipe) -> RunFolder:
        """The same folder with another recipe, which replaces the one on the disk when the run goes on."""
        return replace(self, recipe=recipe)

    def config_text(self) -> str:
        """What config.yaml holds; a picture in the folder is named relative to it."""
        picture = self.recipe.prompt.picture.file
        inside = picture and Path(picture).parent == self.path.absolute()
        recipe = changed(self.recipe, PICTURE, Path(picture).name) if inside else self.recipe
        return _headed(write_recipe(recipe))

    def write_config(self) -> None:
        """Write config.yaml."""
        write_safely(self / CONFIG, self.config_text().encode())

    def check_config(self) -> None:
        """Write config.yaml again, with a warning, where it has vanished during the run."""
        if not (self / CONFIG).is_file():
            log.warning("%s was moved, emptied or removed during the run: %s is written again", self.path, CONFIG)
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_config()

    def log(self) -> list[Record]:
        """The records so far; see `log.read`."""
        return records.read(self / LOG)

    def progress(self) -> dict[str, Any]:
        """How far the log goes: `steps` done, `seconds` that they took."""
        log = self.log()
        return {"steps": log[-1]["step"] + 1, "seconds": log[-1]["seconds"]} if log else {"steps": 0, "seconds": 0.0}

    def append(self, record: Record) -> None:
        """Add a record to the log."""
        records.append(self / LOG, record)

    def rewind(self, index: int) -> list[Record]:
        """Drop the records after step `index`; returns the others; see `log.rewind`."""
        return records.rewind(self / LOG, index)

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint with what it depends on; see `checkpoint.write`."""
        checkpoint.write(self / CHECKPOINTS, state)

    def checkpoints(self) -> list[int]:
        """The steps of the checkpoints that are there."""
        return checkpoint.indices(self / CHECKPOINTS)

    def load(self, *, accept: bool = False, index: int | None = None) -> dict[str, Any] | None:
        """Read the newest complete checkpoint, or that of step `index`; see `checkpoint.read`.

        ValueError, unless changes are accepted, where it was made with other settings than the recipe's: such as
        `resume` must not change, or where config.yaml was edited any.
        """
        state = checkpoint.read(self / CHECKPOINTS, index)
        if state is not None and not accept:
            changes = changed_settings(state["origin"], self.recipe, all_of_them=self.edited)
            self.refuse(state, [f"{CONFIG} ({'; '.join(changes)})"] if changes else [])
        return state

    def refuse(self, state: dict[str, Any], changes: Sequence[str]) -> None:
        """ValueError if something has changed since a checkpoint, with the way out."""
        if changes:
            raise ValueError(
                f"{self.path} has changed since its checkpoint of step {state['index']}: {'; '.join(changes)}; undo "
                f"that, or go on all the same: {command_line('resume', self.path, '--accept-changes')}"
            )

    def trace(self, index: int, pictures: Mapping[str, Tensor]) -> dict[str, Path]:
        """Write small pictures [3 h w] of the prior's input and output at step `index`; returns their files."""
        (self / TRACES).mkdir(exist_ok=True)
        files = {name: self / TRACES / f"{index:06d}-{name}.png" for name in pictures}
        for name, rgb in pictures.items():
            write_png(rgb, files[name])
        return files

    def traces(self) -> dict[int, dict[str, Path]]:
        """The pictures that `trace` wrote, by step and name; logs a warning for those that are damaged."""
        found: dict[int, dict[str, Path]] = {}
        for path in sorted((self / TRACES).glob("*.png")):
            match = re.fullmatch(r"(\d{6,18})-(\d-\w+)", path.stem)
            if match and is_whole_png(path):
                found.setdefault(int(match[1]), {})[match[2]] = path
            elif match:
                log.warning("%s is damaged and left out", path)
        return dict(sorted(found.items()))


def check_distinct(folders: Sequence[Path]) -> None:
    """ValueError if two of these are one folder, by whatever names."""
    seen: set[str] = set()
    for folder in folders:
        place = os.path.realpath(folder)
        if place in seen:
            raise ValueError(f"{folder} is named twice, and one run counts once: name each folder once")
        seen.add(place)


def metrics_in(path: Path) -> dict[str, Any]:
    """The metrics that a run folder holds; none before its end, or where they are damaged."""
    return read_object(path / METRICS, LARGEST)


def title_of(picture: str) -> str:
    """The name of a picture of `RunFolder.trace` without the number that sorts it."""
    return picture.split("-", 1)[-1]


def _headed(settings: str) -> str:
    """The settings with their header, whose digest tells an edited file from one of an earlier version."""
    return f"{HEADER}# SHA-256 of the settings: {hashlib.sha256(settings.encode()).hexdigest()}\n{settings}"


def read_config(path: Path) -> Recipe:
    """The recipe in a file that `RunFolder` wrote; ValueError in one line for anything else."""
    return _recipe_in(_text_of(path), path)


def _text_of(path: Path) -> str:
    try:
        return read_limited(path, LONGEST).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not YAML") from None


def _recipe_in(text: str, path: Path) -> Recipe:
    """The recipe in the text of the file `path`, its picture as an absolute path."""
    recipe = read_recipe(text, str(path), path.absolute().parent)
    picture = recipe.prompt.picture.file
    if picture and not Path(picture).is_absolute():
        return changed(recipe, PICTURE, str(path.absolute().parent / picture))
    return recipe


def _with_own_picture(recipe: Recipe, path: Path) -> Recipe:
    """The recipe with its picture copied into the folder, so that the run does not depend on a file elsewhere."""
    picture = recipe.prompt.picture.file
    if not picture:
        return recipe
    copy = path.absolute() / _picture_name(picture)
    write_safely(copy, Path(picture).read_bytes())
    return changed(recipe, PICTURE, str(copy))


def _picture_name(picture: str) -> str:
    return f"{OWN_PICTURE}{Path(picture).suffix}"


def is_picture(name: str) -> bool:
    """Whether a file of this name, relative to a run folder, is its copy of the input picture."""
    return "/" not in name and Path(name).stem == OWN_PICTURE


def _unfinished(file: Path, recipe: Recipe) -> bool:
    """Whether a killed process left this file: its lock, a part of a file, or a copy of the very picture."""
    picture = recipe.prompt.picture.file
    if picture and file.name == _picture_name(picture):
        return file.is_file() and filecmp.cmp(file, picture, shallow=False)
    return file.name == LOCK or PART.fullmatch(file.name) is not None


def _occupied(path: Path, recipe: Recipe) -> str:
    config = path / CONFIG
    if not config.is_file():
        return f"{path} is not empty; choose another folder with --out"
    again = command_line("resume", path)
    if read_config(config) == recipe:
        return f"{path} holds this very run; go on with: {again}, or choose another --out"
    return f"{path} holds another run; choose another --out, or go on with: {again}"
