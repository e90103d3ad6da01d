"""The page of a study: what a paper claims, what was measured, and whether it holds; one offline HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from scoredistill.export.images import png
from scoredistill.export.page import assemble, details, section, shown, table, text, uri
from scoredistill.export.plot import Plot, svg
from scoredistill.export.sheet import Sheet

VERDICTS = {True: ("holds", "It holds."), False: ("fails", "It does not hold here."), None: ("open", "Undecided.")}
"""What a verdict says, and the style it says it in."""


@dataclass(frozen=True)
class Findings:
    """What the page shows; whatever is empty leaves no trace on it."""

    title: str
    subtitle: str  # the paper's figure; how many captions, seeds and steps
    claim: str
    holds: bool | None
    because: str
    rows: Sequence[Mapping[str, Any]]  # the table: text, numbers, {"mean", "sd", "n"}
    sheets: Mapping[str, Sheet] = field(default_factory=dict)
    plots: Mapping[str, Plot] = field(default_factory=dict)
    remarks: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    citation: str = ""
    command: str = ""  # what reproduces it


def render_findings(page: Findings) -> str:
    """The page as HTML: all text escaped, no script, nothing to load."""
    sections = [
        section("", _verdict(page), "verdict"),
        section("Pictures", "".join(_sheet(*named) for named in page.sheets.items()), "sheets"),
        section("Plots", "".join(_plot(*named) for named in page.plots.items()), "plots"),
        section("Measured", _results(page.rows), "results"),
        section("Paper", text(page.citation, "citation")),
        section("Reproduce", text(page.command, "command") + details("All settings", table(page.settings))),
    ]
    return assemble(page.title, page.subtitle, sections)


def _verdict(page: Findings) -> str:
    style, says = VERDICTS[page.holds]
    parts = {
        "The paper says:": escape(page.claim),
        "Measured here:": f'<b class="{style}">{says}</b> {escape(page.because)}',
        "Beside the paper:": escape(page.remarks),
    }
    return "".join(f"<p><b>{heading}</b> {body}</p>" for heading, body in parts.items() if body)


def _sheet(name: str, sheet: Sheet) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in ("", *sheet.columns))
    body = "".join(
        f"<tr><th>{escape(row)}</th>{''.join(_cell(picture, f'{row}: {column}') for picture, column in cells)}</tr>"
        for row, cells in ((row, zip(line, sheet.columns, strict=True)) for row, line in _lines(sheet))
    )
    caption, width = f"<figcaption>{escape(name)}</figcaption>", f'style="--columns: {len(sheet.columns)}"'
    pictures = f"<table {width}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<figure>{caption}{pictures}</figure>"


def _lines(sheet: Sheet) -> list[tuple[str, list[bytes]]]:
    """Each row's label and pictures."""
    return [(row, [png(rgb) for rgb in line]) for row, line in zip(sheet.rows, sheet.pictures, strict=True)]


def _cell(picture: bytes, what: str) -> str:
    return f'<td><img src="{uri("image/png", picture)}" alt="{escape(what)}"></td>'


def _plot(name: str, plot: Plot) -> str:
    drawing = svg(plot)
    return f"<figure><figcaption>{escape(name)}</figcaption>{drawing}</figure>" if drawing else ""


def _results(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table; its columns are those of all rows, in their order."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    head = "".join(f"<th>{escape(column)}{_counts(column, rows)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_value(row.get(column))}</td>' for column in columns)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""


def _counts(column: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Over how many seeds the means of a column are."""
    counts = {row[column]["n"] for row in rows if isinstance(row.get(column), Mapping)}
    return f"<small> n = {', '.join(map(str, sorted(counts)))}</small>" if counts else ""


def _value(value: Any) -> str:
    """A mean with its deviation, or anything else as `page.shown` has it."""
    if isinstance(value, Mapping):
        spread = "" if value["sd"] is None else f"<small> ± {value['sd']:.2g}</small>"
        return f"{value['mean']:.4g}{spread}"
    return "" if value is None else escape(shown(value))
