"""The page of a study: the claim of a paper, the measurements and the verdict, in one offline HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from scoredistill.export.images import png
from scoredistill.export.page import assemble, details, format_value, section, table, text, uri
from scoredistill.export.plot import Plot, svg
from scoredistill.export.sheet import Sheet

VERDICTS = {True: ("holds", "It holds."), False: ("fails", "It does not hold here."), None: ("open", "Undecided.")}
"""CSS class and sentence of each verdict."""


@dataclass(frozen=True)
class Findings:
    """The contents of the page; empty fields are omitted."""

    title: str
    subtitle: str  # the figure of the paper; numbers of captions, seeds and steps
    claim: str
    holds: bool | None
    because: str  # the reason for the verdict
    rows: Sequence[Mapping[str, Any]]  # the table: text, numbers, {"mean", "sd", "n"}
    sheets: Mapping[str, Sheet] = field(default_factory=dict)
    plots: Mapping[str, Plot] = field(default_factory=dict)
    remarks: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    citation: str = ""
    command: str = ""  # the command that reproduces the study


def render_findings(page: Findings) -> str:
    """The page as HTML: all text escaped, no script, no external resources."""
    sections = [
        section("", _verdict(page), "verdict"),
        section("Images", "".join(_sheet(*named) for named in page.sheets.items()), "sheets"),
        section("Plots", "".join(_plot(*named) for named in page.plots.items()), "plots"),
        section("Measurements", _results(page.rows), "results"),
        section("Paper", text(page.citation, "citation")),
        section("Reproduce", text(page.command, "command") + details("All settings", table(page.settings))),
    ]
    return assemble(page.title, page.subtitle, sections)


def _verdict(page: Findings) -> str:
    style, sentence = VERDICTS[page.holds]
    parts = {
        "Claim of the paper:": escape(page.claim),
        "Result:": f'<b class="{style}">{sentence}</b> {escape(page.because)}',
        "Remarks:": escape(page.remarks),
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
    """Label and images (PNG) of each row."""
    return [(row, [png(rgb) for rgb in line]) for row, line in zip(sheet.rows, sheet.pictures, strict=True)]


def _cell(picture: bytes, label: str) -> str:
    return f'<td><img src="{uri("image/png", picture)}" alt="{escape(label)}"></td>'


def _plot(name: str, plot: Plot) -> str:
    drawing = svg(plot)
    return f"<figure><figcaption>{escape(name)}</figcaption>{drawing}</figure>" if drawing else ""


def _results(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table; its columns are those of all rows, in order of appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    head = "".join(f"<th>{escape(column)}{_counts(column, rows)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_value(row.get(column))}</td>' for column in columns)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""


def _counts(column: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The number of seeds behind the means of a column."""
    counts = {row[column]["n"] for row in rows if isinstance(row.get(column), Mapping)}
    return f"<small> n = {', '.join(map(str, sorted(counts)))}</small>" if counts else ""


def _value(value: Any) -> str:
    """A mean with its standard deviation, or any other value by `page.format_value`."""
    if isinstance(value, Mapping):
        spread = "" if value["sd"] is None else f"<small> ± {value['sd']:.2g}</small>"
        return f"{value['mean']:.4g}{spread}"
    return "" if value is None else escape(format_value(value))
