"""The table of runs: one row a run with what it was, how long it took and its metrics, as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scoredistill.config import dotted
from scoredistill.files import json_bytes, write_safely
from scoredistill.recipes.kinds import name_of
from scoredistill.runs.evaluation.measures import Measures
from scoredistill.runs.evaluation.protocol import measured_views
from scoredistill.runs.evaluation.scene_metrics import measured
from scoredistill.runs.evaluation.sets import Evaluated
from scoredistill.runs.finish import open_scene
from scoredistill.runs.folder import RunFolder, metrics_in
from scoredistill.runs.formats import check_output

Row = dict[str, Any]

STORED = ("mesh_", "peak_")  # stored metrics that a checkpoint alone does not give, by how they begin


def row(path: Path, measures: Measures | None = None) -> Row:
    """The row of the run in a folder; see `evaluated`."""
    return evaluated(path, measures).row


def evaluated(path: Path, measures: Measures | None = None) -> Evaluated:
    """The run in a folder, evaluated at its newest checkpoint; ValueError where it cannot be opened."""
    recipe, scene = open_scene(path)
    return evaluated_scene(RunFolder(path, recipe), scene, measures or Measures())


def evaluated_scene(folder: RunFolder, scene: Any, measures: Measures) -> Evaluated:
    """The same for a scene that is open already."""
    recipe = folder.recipe
    about = {
        "run": folder.path.absolute().name,
        "prompt": recipe.prompt.text,
        "method": name_of(recipe.method),
        "seed": recipe.training.seed,
        "prior": Path(recipe.prior.name).name,
        "scene": name_of(recipe.scene),
        **folder.progress(),
    }
    views = measured_views(recipe, scene, measures.protocol)
    found = about | _stored(folder, about["steps"]) | measured(recipe, views, measures)
    return Evaluated(found, recipe, (255 * views.rgb.nan_to_num(0, 0, 0).clamp(0, 1)).round().byte())


def _stored(folder: RunFolder, steps: int) -> Row:
    """The stored metrics that need more than a checkpoint, where they are of this very step."""
    found = metrics_in(folder.path)
    if found.get("steps") != steps:
        return {}
    return {name: value for name, value in found.items() if name.startswith(STORED)}


def check_table(path: Path) -> None:
    """ValueError unless a table can be written to `path`, which ends in .json or .csv."""
    check_output(path, "json", "csv")


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as .json or .csv."""
    write_safely(path, csv_bytes(rows) if path.suffix.lower() == ".csv" else json_bytes(list(rows)))


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as CSV in UTF-8 under the columns of all of them; nested values have dotted columns.

    Floats with all digits, truth values as true and false; empty where a row has no value, or none that is finite.
    """
    flat = [dotted(each) for each in rows]
    columns = list(dict.fromkeys(name for each in flat for name in each))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in each.items()} for each in flat)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return value if value is None or isinstance(value, str | float) else json.dumps(value)
