"""Comparing runs: from their folders to the page and the table beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from scoredistill.compare.gather import Gathered, Progress, gather, run_folders
from scoredistill.compare.page import render
from scoredistill.config import Pixels, Range
from scoredistill.export.images import WEBP_SIDE
from scoredistill.files import check_replaceable, write_safely
from scoredistill.recipes.command import command_line
from scoredistill.runs.evaluation.measures import Measuring
from scoredistill.runs.formats import check_output
from scoredistill.runs.table import write_table

NAME = "compare.html"


@dataclass(frozen=True)
class Comparison(Measuring):
    """How runs are compared."""

    frames: Annotated[int, Range(2, 360)] = 24  # frames of each turntable
    resolution: Pixels = 128  # resolution of the turntables in pixels
    out: Path | None = None  # .html file of the page; by default compare.html in the folder that contains all runs

    def check(self) -> None:
        """ValueError as `Measuring`, and where the frames of a turntable side by side are too wide for an image."""
        super().check()
        if self.frames * self.resolution > WEBP_SIDE:
            raise ValueError(
                f"frames times resolution must be at most {WEBP_SIDE}, got {self.frames * self.resolution}: "
                "take fewer frames or a smaller resolution"
            )


def compare(paths: Sequence[Path], how: Comparison, progress: Progress = str) -> tuple[Gathered, Path, Path]:
    """Write the page and, beside it under the same name, the table (CSV); returns what is in them, and both paths.

    ValueError where fewer than two runs can be compared. OSError if the disk refuses.
    """
    folders = run_folders(paths)
    page = how.out or _common(folders) / NAME
    check_output(page, "html")
    check_replaceable(page.with_suffix(".csv"))
    if len(folders) < 2:
        raise ValueError(f"nothing to compare: {folders[0]} is a single run; name at least two")
    gathered = gather(folders, how.frames, how.resolution, how.measures(), progress)
    if len(gathered.runs) < 2:
        path, reason = gathered.left_out[0]
        known = f"{len(gathered.runs)} of {len(folders)} runs can be opened"
        raise ValueError(f"nothing to compare: {known}; {path}: {reason}")
    write(gathered, paths, how, page)
    return gathered, page, page.with_suffix(".csv")


def write(gathered: Gathered, paths: Sequence[Path], how: Comparison, page: Path) -> None:
    """Write the table and the page."""
    beside = page.with_suffix(".csv")
    write_table([run.row for run in gathered.runs], beside)
    html = render(gathered, how.frames, page.parent, beside.name, _command(paths, how))
    write_safely(page, html.encode("utf-8", "backslashreplace"))


def _command(paths: Sequence[Path], how: Comparison) -> str:
    """The command line that makes the page again."""
    default = Comparison()
    words = ["--metric", *how.metric] if how.metric else []
    for name in ("protocol", "reference", "clip", "weights", "frames", "resolution", "out"):
        if getattr(how, name) != getattr(default, name):
            words += [f"--{name}", str(getattr(how, name))]
    return command_line("compare", *paths, *words)


def _common(folders: Sequence[Path]) -> Path:
    """The innermost folder that holds all run folders, relative where it is in the working directory."""
    common, here = Path(os.path.commonpath([folder.absolute().parent for folder in folders])), Path.cwd()
    return common.relative_to(here) if common.is_relative_to(here) else common
