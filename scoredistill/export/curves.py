"""Curves of runs as inline SVG, without script or fonts; colors come from the page.

Values in data units; positions in the SVG's user units, y down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 56, 352, 8, 128  # the plot area; axis labels are outside
BINS = 120  # bins of a curve: the mean is drawn as a line, the range as a band
COLORS = 8  # colors that the page defines
DECADES = 3.0  # positive values with a larger range get a logarithmic axis

Points = list[tuple[float, float]]


def curve(steps: Sequence[float], values: Sequence[float]) -> str:
    """One curve as an `<svg>`; see `overlaid`."""
    return overlaid([("", list(zip(steps, values, strict=True)))])


def series(place: int) -> str:
    """The CSS class of one of several curves or lines; after `COLORS` the colors repeat, dashed."""
    return f"series-{place % COLORS}" + (" dashed" if place >= COLORS else "")


def overlaid(curves: Sequence[tuple[str, Points]]) -> str:
    """Curves, each with its CSS class, as an `<svg>`.

    Of each curve the mean of each bin of steps is drawn as a line, the range from smallest to largest value as a band.
    Values that are not finite are omitted; the result is empty if there are no others. Positive values over more than
    three decades get a logarithmic axis.
    """
    finite = [(style, [(x, y) for x, y in points if math.isfinite(y)]) for style, points in curves]
    points = [point for _, each in finite for point in each]
    if not points:
        return ""
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    logarithmic = low > 0 and math.log10(high / low) > DECADES
    height = math.log10 if logarithmic else float
    x_of, y_of = scale(first, last, LEFT, RIGHT), scale(height(low), height(high), BOTTOM, TOP)
    frame = axes((first, last), (low, high), "step, log scale" if logarithmic else "step")
    lines = "".join(_lines([(x_of(x), y_of(height(y))) for x, y in each], style) for style, each in finite)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{frame}{lines}</svg>'


def scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    """The affine map of [low, high] to [start, stop]; to the middle if low = high."""
    if high == low:
        return lambda _: 0.5 * (start + stop)
    return lambda value: start + (value - low) / (high - low) * (stop - start)


def axes(
    across: tuple[float, float],
    up: tuple[float, float],
    title: str,
    box: tuple[int, int, int, int] = (LEFT, TOP, RIGHT, BOTTOM),
    height: int = HEIGHT,
) -> str:
    """Three horizontal rules, the limits of both axes in data units, and the title of the horizontal axis."""
    left, top, right, bottom = box
    rules = "".join(f'<path class="rule" d="M{left} {y}H{right}"/>' for y in (top, 0.5 * (top + bottom), bottom))
    labels = [
        (left - 6, bottom, "end", _number(up[0])),
        (left - 6, top + 8, "end", _number(up[1])),
        (left, height - 5, "start", _number(across[0])),
        (right, height - 5, "end", _number(across[1])),
        (0.5 * (left + right), height - 5, "middle", title),
    ]
    return rules + "".join(f'<text x="{x:g}" y="{y:g}" text-anchor="{at}">{text}</text>' for x, y, at, text in labels)


def _number(value: float) -> str:
    """A number in at most eight characters, so that it fits the margin."""
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def _lines(points: Points, style: str) -> str:
    """The band and the mean line of points in SVG positions."""
    bins: dict[int, Points] = {}
    for x, y in points:
        bins.setdefault(min(int((x - LEFT) / (RIGHT - LEFT) * BINS), BINS - 1), []).append((x, y))
    columns = [list(zip(*bins[key], strict=True)) for key in sorted(bins)]  # each: all x, all y
    mean = [(fmean(x), fmean(y)) for x, y in columns]
    outline = [(fmean(x), min(y)) for x, y in columns] + [(fmean(x), max(y)) for x, y in reversed(columns)]
    band = f'<polygon class="{f"band {style}".strip()}" points="{_positions(outline)}"/>'
    return band + f'<polyline class="{f"line {style}".strip()}" points="{_positions(mean)}"/>'


def _positions(points: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
