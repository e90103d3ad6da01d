"""Lines with error bars as inline SVG, without script or fonts; colors come from the page.

Values in data units; positions in the SVG's user units, y down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from scoredistill.export.curves import DECADES, axes, scale, series

WIDTH, HEIGHT = 560, 300
BOX = (64, 12, 400, 262)  # left, top, right, bottom of the plot area; the legend is on its right
CAP = 3  # half the width of the caps of an error bar


@dataclass(frozen=True)
class Line:
    """A named line: x, y and the half-length of the error bar at each y (None: no bar)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float | None]

    def points(self) -> list[tuple[float, float, float]]:
        """x, y and spread of the points with finite y."""
        known = zip(self.x, self.y, self.spread, strict=True)
        return [(x, y, spread or 0.0) for x, y, spread in known if math.isfinite(y)]


@dataclass(frozen=True)
class Plot:
    """Lines over one axis."""

    lines: Sequence[Line]
    across: str  # title of the horizontal axis


def svg(plot: Plot) -> str:
    """The plot as an `<svg>`, empty without points; positive values over three decades get a logarithmic axis.

    On a logarithmic axis, an error bar that would reach zero ends at the smallest plotted value.
    """
    points = [point for line in plot.lines for point in line.points()]
    if not points:
        return ""
    xs = [x for x, _, _ in points]
    low, high = min(y for _, y, _ in points), max(y for _, y, _ in points)
    logarithmic = low > 0 and math.log10(high / low) > DECADES
    if not logarithmic:
        low, high = min(y - spread for _, y, spread in points), max(y + spread for _, y, spread in points)
    height = math.log10 if logarithmic else float
    left, top, right, bottom = BOX
    x_of, inner = scale(min(xs), max(xs), left, right), scale(height(low), height(high), bottom, top)

    def y_of(value: float) -> float:
        return inner(height(min(max(value, low), high)))

    title = f"{plot.across}, vertical log scale" if logarithmic else plot.across
    frame = axes((min(xs), max(xs)), (low, high), escape(title), box=BOX, height=HEIGHT)
    drawn = "".join(_line(line, place, x_of, y_of) for place, line in enumerate(plot.lines))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{frame}{drawn}</svg>'


def _line(line: Line, place: int, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> str:
    """The line, its error bars, and its entry in the legend."""
    style = f"line {series(place)}"
    points = [(x_of(x), y_of(y), y_of(y - spread), y_of(y + spread)) for x, y, spread in line.points()]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
    bars = "".join(
        f"M{x:.1f} {low:.1f}V{high:.1f}M{x - CAP:.1f} {low:.1f}h{2 * CAP}M{x - CAP:.1f} {high:.1f}h{2 * CAP}"
        for x, _, low, high in points
        if low != high
    )
    right, y = BOX[2] + 14, BOX[1] + 10 + 18 * place
    legend = f'<path class="{style}" d="M{right} {y - 4}h16"/><text x="{right + 22}" y="{y}">{escape(line.name)}</text>'
    return f'<polyline class="{style}" points="{path}"/><path class="{style} bar" d="{bars}"/>{legend}'
