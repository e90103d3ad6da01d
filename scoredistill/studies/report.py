"""The folder of a study: the page, a PNG of each sheet, and the numbers.

index.html   NAME.png   result.json   runs/ (in 3D)   cache/
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from scoredistill.export.findings import Findings, render_findings
from scoredistill.export.images import write_png
from scoredistill.files import json_bytes, write_safely
from scoredistill.methods.catalogue import METHODS
from scoredistill.studies.scene_study import SceneStudy
from scoredistill.studies.study import Finding, Study

RESULT, SWEEP, CACHE = "result.json", "runs", "cache"
"""In the folder of a study: its numbers, the sweep of one in 3D, and what was computed or measured once."""


@dataclass(frozen=True)
class Size:
    """The size of a study; its place is 2D or 3D."""

    captions: Sequence[str]
    seeds: int
    steps: int | None  # None: those of the preset
    seed: int
    place: str = "2D"

    def __str__(self) -> str:
        steps = f", {self.steps} steps" if self.steps else ""
        return f"{len(self.captions)} captions x {self.seeds} seeds{steps}"


def write_report(
    study: Study | SceneStudy, size: Size, finding: Finding, folder: Path, about: Mapping[str, Any], command: str
) -> None:
    """Write the folder of a finished study; `about` says what it ran on, `command` repeats it.

    Numbers that are not finite are null in `RESULT`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {"captions": list(size.captions), "seeds": size.seeds, "steps": size.steps, "seed": size.seed}
    settings = {**numbers, **about, **finding.settings}
    for name, sheet in finding.sheets.items():
        write_png(sheet.picture(), folder / f"{slug(name)}.png")
    result = {
        "study": study.name,
        "figure": study.figure,
        "claim": study.claim,
        "holds": finding.holds,
        "because": finding.because,
        "remarks": finding.remarks,
        "rows": [dict(row) for row in finding.rows],
        "plots": {name: asdict(plot) for name, plot in finding.plots.items()},
        "settings": settings,
        "command": command,
        "versions": versions(),
    }
    write_safely(folder / RESULT, json_bytes(result))
    html = render_findings(page(study, size, finding, settings, command))
    write_safely(folder / "index.html", html.encode())


def page(
    study: Study | SceneStudy, size: Size, finding: Finding, settings: Mapping[str, Any], command: str
) -> Findings:
    """The page of a finished study."""
    return Findings(
        title=study.title,
        subtitle=f"{study.figure}, in {size.place} on {settings['prior']}; {size}",
        claim=study.claim,
        holds=finding.holds,
        because=finding.because,
        rows=finding.rows,
        sheets=finding.sheets,
        plots=finding.plots,
        remarks=finding.remarks,
        settings={**settings, **versions()},
        citation=METHODS[study.paper].citation,
        command=command,
    )


def versions() -> dict[str, str]:
    """The versions of the software behind the numbers."""
    return {
        "scoredistill": _version("scoredistill"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def slug(name: str) -> str:
    """A file name from the title of a sheet."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
