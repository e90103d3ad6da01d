"""Estimates side by side: a table whose rows are drawn on one axis, runs as dots, means with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from scoredistill.evaluate.intervals import Estimate, short
from scoredistill.export.curves import scale, series

WIDTH, HEIGHT = 240, 20
LEFT, RIGHT = 6, 234  # the ends of the axis
CAP = 4  # half the height of the ends of an interval


@dataclass(frozen=True)
class Entry:
    """One row: what was estimated, the single values, the CSS classes of its color."""

    name: str
    estimate: Estimate
    values: Sequence[float]
    style: str


def swatch(place: int) -> str:
    """A short line in the color of a place, for names and legends."""
    return f'<svg class="swatch" viewBox="0 0 16 8"><path class="line {series(place)}" d="M0 4H16"/></svg>'


def forest(title: str, entries: Sequence[Entry], names: Callable[[Entry], str], *, zero: bool = False) -> str:
    """The table of the entries as HTML, with zero on the axis if asked for; `names` gives the HTML of their names."""
    if not entries:
        return ""
    ends = [end for entry in entries for end in (*entry.values, *entry.estimate.limits)] + [0.0] * zero
    x_of = scale(min(ends), max(ends), LEFT, RIGHT)
    rows = "".join(
        f'<tr><th>{names(entry)}</th><td class="strip">{_strip(entry, x_of, zero=zero)}</td>'
        f"<td>{_words(entry.estimate, bold=zero)}</td></tr>"
        for entry in entries
    )
    limits = f"<span>{short(min(ends))}</span><span>{short(max(ends))}</span>"
    axis = f'<tr class="axis"><th></th><td>{limits}</td><td></td></tr>'
    return f"<figure><figcaption>{escape(title)}</figcaption><table>{rows}{axis}</table></figure>"


def _strip(entry: Entry, x_of: Callable[[float], float], *, zero: bool) -> str:
    middle, mean = HEIGHT // 2, x_of(entry.estimate.mean)
    line = f'<path class="rule" d="M{x_of(0.0):.1f} 0V{HEIGHT}"/>' if zero else ""
    dots = "".join(
        f'<circle class="run {entry.style}" cx="{x_of(v):.1f}" cy="{middle}" r="2.5"/>' for v in entry.values
    )
    low, high = map(x_of, entry.estimate.limits)
    ends = "".join(f"M{x:.1f} {middle - CAP}V{middle + CAP}" for x in (low, high))
    bar = f'<path class="line {entry.style}" d="M{low:.1f} {middle}H{high:.1f}{ends}"/>'
    mark = f'<circle class="mean {entry.style}" cx="{mean:.1f}" cy="{middle}" r="3.5"/>'
    interval = bar if entry.estimate.half is not None else ""
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{line}{dots}{interval}{mark}</svg>'


def _words(estimate: Estimate, *, bold: bool) -> str:
    return f"<b>{estimate}</b>" if bold and estimate.sign is not None else str(estimate)
