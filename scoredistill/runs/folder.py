"""The folder of a run. Everything else in it is made from the first four.

config.yaml   log.jsonl   checkpoint/   trace/     written during the run
preview.png   turntable.mp4   mesh.glb   metrics.json   index.html     written when it stops
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from scoredistill.export.images import write_png
from scoredistill.files import read_limited, write_safely
from scoredistill.recipes.command import command_line
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.recipes.text import read_recipe, write_recipe
from scoredistill.recipes.tree import LONGEST
from scoredistill.runs import checkpoint

PICTURE = "prompt.picture.file"

Record = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """A folder on the disk with the recipe of its run."""

    path: Path
    recipe: Recipe

    @classmethod
    def create(cls, recipe: Recipe, path: Path) -> RunFolder:
        """A new folder with the recipe and a copy of its picture; ValueError if it holds anything already.

        OSError in one line if it cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise ValueError(_occupied(path, recipe))
            folder = cls(path, _with_own_picture(recipe, path))
            folder.write_config()
        except OSError as error:
            raise type(error)(error.errno, f"cannot write the run folder {path} ({error.strerror})") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of an earlier run; ValueError if it is not one."""
        config = path / "config.yaml"
        if not config.is_file():
            raise ValueError(f"{path} is not a run folder: it has no config.yaml")
        return cls(path, read_config(config))

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def with_recipe(self, recipe: Recipe) -> RunFolder:
        """The same folder with another recipe, which replaces the one on the disk."""
        folder = replace(self, recipe=recipe)
        folder.write_config()
        return folder

    def write_config(self) -> None:
        """Write config.yaml; a picture in the folder is named relative to it."""
        picture = self.recipe.prompt.picture.file
        inside = picture and Path(picture).parent == self.path.absolute()
        recipe = changed(self.recipe, PICTURE, Path(picture).name) if inside else self.recipe
        text = "# run it again: scoredistill generate --config THIS_FILE --out ANOTHER_FOLDER\n"
        write_safely(self / "config.yaml", (text + write_recipe(recipe)).encode())

    def log(self) -> list[Record]:
        """The records so far, up to the first broken line (a run may be killed while it writes)."""
        records: list[Record] = []
        path = self / "log.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return records

    def append(self, record: Record) -> None:
        """Add a record to the log."""
        with (self / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, index: int) -> list[Record]:
        """Drop the records after step `index`; returns the others."""
        records = [record for record in self.log() if record["step"] <= index]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_safely(self / "log.jsonl", lines.encode())
        return records

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; see `checkpoint.write`."""
        checkpoint.write(self / "checkpoint", state)

    def load(self) -> dict[str, Any] | None:
        """Read the newest complete checkpoint; see `checkpoint.read`."""
        return checkpoint.read(self / "checkpoint")

    def trace(self, index: int, pictures: Mapping[str, Tensor]) -> None:
        """Write small pictures [3 h w] of the prior's input and output at step `index`."""
        (self / "trace").mkdir(exist_ok=True)
        for name, rgb in pictures.items():
            write_png(rgb, self / "trace" / f"{index:06d}-{name}.png")

    def traces(self) -> dict[int, dict[str, Path]]:
        """The pictures that `trace` wrote, by step and name."""
        found: dict[int, dict[str, Path]] = {}
        for path in sorted((self / "trace").glob("*.png")):
            index, name = path.stem.split("-", 1)
            found.setdefault(int(index), {})[name] = path
        return found


def read_config(path: Path) -> Recipe:
    """The recipe in a file that `RunFolder` wrote; ValueError in one line for anything else."""
    try:
        text = read_limited(path, LONGEST).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not YAML") from None
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
    copy = path.absolute() / f"picture{Path(picture).suffix}"
    shutil.copyfile(picture, copy)
    return changed(recipe, PICTURE, str(copy))


def _occupied(path: Path, recipe: Recipe) -> str:
    config = path / "config.yaml"
    if not config.is_file():
        return f"{path} is not empty; choose another folder with --out"
    again = command_line("resume", path)
    if read_config(config) == recipe:
        return f"{path} holds this very run; go on with: {again}, or choose another --out"
    return f"{path} holds another run; choose another --out, or go on with: {again}"
