"""The page of a comparison: one offline HTML file. All text is escaped; only the page's own script may run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from scoredistill.compare.figures import Entry, forest, swatch
from scoredistill.compare.gather import Gathered, Run
from scoredistill.compare.variants import Variant, is_number, metrics, settings_table, variants
from scoredistill.evaluate.intervals import differences, over_seeds, paired, short
from scoredistill.export.curves import overlaid, series
from scoredistill.export.page import assemble, details, format_value, section, table, text, uri
from scoredistill.runs.folder import PAGE
from scoredistill.runs.table import Row

MEANS = (
    "Each dot is a run. Mean ± half the 95 % interval over seeds: Student's t with the pooled variance within prompts "
    "(one-way analysis of variance). It holds for these prompts only, and needs a second seed of at least one."
)
PAIRS = (
    "Differences between runs with the same prompt and seed, first minus second. Mean ± half the 95 % interval by "
    "Student's t, one observation per pair, not corrected for multiple comparisons; bold if it excludes zero."
)
SETS = "Runs that differ only in their seeds: metrics of all their results together; pairs are seen by the same camera."
VIEWS = "All turntables use the same cameras and show the newest checkpoints. Drag one to turn all of them."
CURVES = "Per method: the mean over its runs as a line, the range from smallest to largest value as a band."


def render(gathered: Gathered, frames: int, folder: Path, table_name: str, command: str) -> str:
    """The page as HTML, for a file in `folder` beside the table."""
    runs, found = gathered.runs, variants(gathered.runs)
    script = resources.files("scoredistill.compare").joinpath("turntable.js").read_text("utf-8")
    turning = any(run.turns for run in runs)
    left_out = {str(path): reason for path, reason in gathered.left_out}
    sections = [
        section("", (_controls(frames) if turning else "") + _grid(runs, found, frames, folder), "grid"),
        section("Left out", table(left_out), "left-out"),
        section("Metrics", _note(MEANS) + _means(runs, found), "forests"),
        section("Paired differences", _noted(PAIRS, _pairs(runs, found)), "forests"),
        section("Several seeds", _noted(SETS, _sets(gathered.sets)), "results"),
        section("Curves", _noted(CURVES, _curves(found)), "curves"),
        section("Settings that differ", _settings(found), "results"),
        section("Runs", _runs(runs, folder), "results"),
        section("Reproduce", f"<p>All numbers: {_link(table_name, table_name)}</p>" + text(command, "command")),
    ]
    return assemble(_title(runs), _subtitle(runs), sections, *[script] * turning)


def _title(runs: Sequence[Run]) -> str:
    prompts, methods = {run.prompt for run in runs}, {run.row["method"] for run in runs}
    return f"{len(runs)} runs: {_count(len(prompts), 'prompt')}, {_count(len(methods), 'method')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _subtitle(runs: Sequence[Run]) -> str:
    """Scenes and priors of the runs."""
    scenes, priors = (", ".join(dict.fromkeys(run.row[name] for run in runs)) for name in ("scene", "prior"))
    return f"scene {scenes}; prior {priors}"


def _controls(frames: int) -> str:
    """What turns all turntables together."""
    slider = f'<input type="range" id="view" min="0" max="{frames - 1}" value="0" aria-label="azimuth of all views">'
    return f'<p class="controls"><button id="play">Turn</button>{slider}<output id="angle">0°</output></p>' + _note(
        VIEWS
    )


def _grid(runs: Sequence[Run], found: Sequence[Variant], frames: int, folder: Path) -> str:
    """Prompts by methods, the seeds side by side; a link to each run's own page."""
    head = "".join(f"<th>{swatch(place)}{escape(each.name)}</th>" for place, each in enumerate(found))
    body = "".join(
        f"<tr><th>{escape(_prompt_name(prompt))}</th>"
        + "".join(f"<td><div>{_cell(each.of_prompt(prompt), frames, folder)}</div></td>" for each in found)
        + "</tr>"
        for prompt in dict.fromkeys(run.prompt for run in runs)
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _prompt_name(prompt: tuple[str, str]) -> str:
    words, picture = prompt
    return f"{words} (picture {picture[:6]})".strip() if picture else words


def _cell(runs: Sequence[Run], frames: int, folder: Path) -> str:
    return "".join(
        f"<figure>{_picture(run, frames)}<figcaption>{_run_link(run, run.seed_name, folder)}"
        f"{' <b>diverged</b>' if run.row.get('diverged') else ''}</figcaption></figure>"
        for run in runs
    )


def _picture(run: Run, frames: int) -> str:
    source, words = uri("image/webp", run.picture), escape(f"{run.prompt[0]}, {run.seed_name}")
    if not run.turns:
        return f'<img src="{source}" alt="{words}">'
    style = f"--frames: {frames}; background-image: url({source})"
    return f'<div class="turntable" role="img" aria-label="{words}" style="{style}"></div>'


def _run_link(run: Run, words: str, folder: Path) -> str:
    """A link to the run's own page, relative to the folder of this one."""
    page = (run.path / PAGE).absolute()
    try:
        return _link(Path(os.path.relpath(page, folder)).as_posix(), words)
    except ValueError:  # on another drive of Windows
        return _anchor(page.as_uri(), words)


def _link(relative: str, words: str) -> str:
    """A link to a file by its path, percent-encoded, so that no character of it is taken for another part of a URL."""
    return _anchor(PurePosixPath("/", relative).as_uri().removeprefix("file:///"), words)


def _anchor(address: str, words: str) -> str:
    return f'<a href="{escape(address)}">{escape(words)}</a>'


def _means(runs: Sequence[Run], found: Sequence[Variant]) -> str:
    names, equal = metrics(runs)
    words = ", ".join(f"{_spaced(name)} {short(value)}" for name, value in equal.items())
    return "".join(_mean(name, found) for name in names) + (_note(f"Equal in all runs: {words}.") if words else "")


def _mean(metric: str, found: Sequence[Variant]) -> str:
    entries, names = [], {}
    for place, variant in enumerate(found):
        values = variant.values(metric)
        if estimate := over_seeds(values):
            names[variant.name] = swatch(place) + escape(variant.name)
            entries.append(Entry(variant.name, estimate, list(values.values()), series(place)))
    return forest(_spaced(metric), entries, lambda entry: names[entry.name])


def _pairs(runs: Sequence[Run], found: Sequence[Variant]) -> str:
    return "".join(_pair(metric, found) for metric in metrics(runs)[0])


def _pair(metric: str, found: Sequence[Variant]) -> str:
    entries = []
    for one, other in itertools.combinations(found, 2):
        values, others = one.values(metric), other.values(metric)
        if estimate := paired(values, others):
            name = f"{one.name} − {other.name}"
            entries.append(Entry(name, estimate, differences(values, others), "pair"))
    return forest(_spaced(metric), entries, lambda entry: escape(entry.name), zero=True)


def _curves(found: Sequence[Variant]) -> str:
    """The curve of each number of the logs, those of the methods over one another."""
    records = [record for variant in found for run in variant.runs for record in run.log]
    names = dict.fromkeys(name for record in records for name in record if name != "step")
    legend = "".join(f"<span>{swatch(place)}{escape(each.name)}</span>" for place, each in enumerate(found))
    figures = "".join(_curve(name, found) for name in names)
    return f'<p class="legend">{legend}</p>{figures}' if figures else ""


def _curve(name: str, found: Sequence[Variant]) -> str:
    points = [
        (
            series(place),
            [
                (float(record["step"]), float(record[name]))
                for run in variant.runs
                for record in run.log
                if is_number(record.get(name))
            ],
        )
        for place, variant in enumerate(found)
    ]
    drawing = overlaid(points)
    return f"<figure><figcaption>{escape(_spaced(name))}</figcaption>{drawing}</figure>" if drawing else ""


def _settings(found: Sequence[Variant]) -> str:
    rows = settings_table(found)
    names = ["setting", *(variant.name for variant in found)]
    return _columns(names, [[escape(row[name]) for name in names] for row in rows]) if rows else ""


def _runs(runs: Sequence[Run], folder: Path) -> str:
    """Every run with all numbers and texts of its row."""
    names = dict.fromkeys(name for run in runs for name, value in run.row.items() if not isinstance(value, dict))
    rows = [
        [_run_link(run, run.row["run"], folder), *(_value(run.row.get(name)) for name in names if name != "run")]
        for run in runs
    ]
    return details(_count(len(runs), "run"), _columns([_spaced(name) for name in names], rows))


def _sets(rows: Sequence[Row]) -> str:
    """Every set of runs with its metrics."""
    if not rows:
        return ""
    return _columns([_spaced(name) for name in rows[0]], [[_value(value) for value in row.values()] for row in rows])


def _columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under the names of its columns; the cells are HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _value(value: Any) -> str:
    return "" if value is None else escape(format_value(value))


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _noted(note: str, body: str) -> str:
    return _note(note) + body if body else ""


def _note(words: str) -> str:
    return f'<p class="note">{escape(words)}</p>'
