"""What counts as the same result: every tensor and number of the last checkpoint, the log, the finished files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from scoredistill.runs.folder import RunFolder

SAME_BYTES = ("mesh.glb", "preview.png", "turntable.mp4")
TIMED = "seconds"  # of a record: since the start, by the clock


def differences(folder: Path, reference: Path) -> list[str]:
    """In what a finished run differs from an undisturbed one; empty if in nothing. Reads both through `RunFolder`."""
    other = RunFolder.open(reference)
    try:
        mine = RunFolder.open(folder)
        mine.load()
    except (ValueError, OSError) as error:
        return [f"it cannot be read: {error}"]
    found = []
    if not same(mine.load(), other.load()):
        found.append("the last checkpoint")
    if _settings(mine) != _settings(other):
        found.append("the recipe")
    if _records(mine) != _records(other):
        found.append("the log")
    for name in SAME_BYTES:
        if _bytes(folder / name) != _bytes(reference / name):
            found.append(name)
    if _pictures(folder) != _pictures(reference):
        found.append("pictures of index.html")
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two trees of tensors, numbers and texts are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        equal = isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.shape == other.shape
        return equal and one.contiguous().view(-1).equal(other.contiguous().view(-1))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def names(folder: Path) -> set[str]:
    """The names of all files in a folder, the lock aside."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".lock"}


def _settings(run: RunFolder) -> Any:
    """The recipe, but for where the run keeps its own copy of the picture."""
    from scoredistill.recipes.recipe import changed

    picture = run.recipe.prompt.picture.file
    return changed(run.recipe, "prompt.picture.file", Path(picture).name if picture else "")


def _records(run: RunFolder) -> list[Any]:
    """The log without the clock and without what protects a line."""
    measured = [{key: value for key, value in record.items() if key not in (TIMED, "crc32")} for record in run.log()]
    return [repr(sorted(record.items())) for record in measured]


def _pictures(folder: Path) -> list[str]:
    """The embedded files of the page, whose text holds times."""
    return re.findall(
        r"data:image/png;base64,[^\"]*", (_bytes(folder / "index.html") or b"").decode("utf-8", "replace")
    )


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
