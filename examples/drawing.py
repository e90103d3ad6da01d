"""Points, paths and curves as PNG pictures, drawn with Pillow for the tutorial.

points   [N 2], x to the right and y up, in the panel's own units
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIDE, MARGIN, HEAD, EDGE = 300, 44, 34, 14  # pixels: the plot; left and below, for numbers; the title; on the right
FINER = 3  # drawn larger and shrunk: smooth lines
INK, PALE = "#333333", "#d9d9d9"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito: safe for color blindness


@dataclass
class Panel:
    """One square plot: x and y are the ranges of its axes."""

    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    picture: Image.Image = field(init=False)

    def __post_init__(self) -> None:
        self.picture = Image.new("RGB", (FINER * (MARGIN + SIDE + EDGE), FINER * (HEAD + SIDE + MARGIN)), "white")
        self.pen = ImageDraw.Draw(self.picture)
        self.text((MARGIN + SIDE / 2, HEAD / 2), self.title, "mm", 14)

    def shade(self, height: Tensor) -> Panel:
        """A map [rows columns] of values in [0, 1] behind everything, the first row at the top; 1 is gray."""
        gray = (255 - 80 * height.clamp(0, 1)).byte().numpy()
        self.picture.paste(Image.fromarray(gray).resize([FINER * SIDE] * 2, 2), (FINER * MARGIN, FINER * HEAD))
        return self

    def path(self, points: Tensor, color: str = INK, width: float = 1.0) -> Panel:
        """A line through points; what leaves the plot is cut at its border."""
        inside = points.double()
        inside = torch.stack([inside[:, 0].clamp(*self.x), inside[:, 1].clamp(*self.y)], 1)
        self.pen.line([self._place(point) for point in inside.tolist()], color, round(FINER * width), "curve")
        return self

    def dots(self, points: Tensor, color: str = INK, radius: float = 2.0) -> Panel:
        """A dot at each point within the plot."""
        for point in points.tolist():
            if self.x[0] <= point[0] <= self.x[1] and self.y[0] <= point[1] <= self.y[1]:
                left, top = self._place(point)
                r = FINER * radius
                self.pen.ellipse((left - r, top - r, left + r, top + r), color)
        return self

    def axes(self, across: Sequence[tuple[float, str]], up: Sequence[tuple[float, str]]) -> Panel:
        """A frame with labels at places of either axis."""
        for value, label in across:
            left, _ = self._place((value, self.y[0]))
            self.text((left / FINER, HEAD + SIDE + 16), label, "mm")
        for value, label in up:
            _, top = self._place((self.x[0], value))
            self.text((MARGIN - 5, top / FINER), label, "rm")
            self.path(torch.tensor([[self.x[0], value], [self.x[1], value]]), PALE, 0.4)
        corners = [(MARGIN, HEAD), (MARGIN + SIDE, HEAD + SIDE)]
        self.pen.rectangle([(FINER * a, FINER * b) for a, b in corners], outline=INK, width=FINER)
        return self

    def legend(self, names: Iterable[tuple[str, str]]) -> Panel:
        """(name, color) pairs in the top right corner."""
        for row, (name, color) in enumerate(names):
            self.text((MARGIN + SIDE - 8, HEAD + 14 + 16 * row), name, "rm", 12, color)
        return self

    def text(self, at: tuple[float, float], words: str, anchor: str, size: int = 11, color: str = INK) -> None:
        """Words at a place in pixels."""
        font = ImageFont.load_default(FINER * size)
        self.pen.text((FINER * at[0], FINER * at[1]), words, color, font, anchor)

    def _place(self, point: Sequence[float]) -> tuple[float, float]:
        across, up = ((value - low) / (high - low) for value, (low, high) in zip(point, (self.x, self.y), strict=True))
        return FINER * (MARGIN + SIDE * across), FINER * (HEAD + SIDE * (1 - up))


def write(path: Path, panels: Sequence[Panel], columns: int = 3) -> Image.Image:
    """Write panels side by side, in rows of `columns`, as one PNG; returned too, for notebooks to show."""
    width, height = panels[0].picture.size
    columns = min(columns, len(panels))
    sheet = Image.new("RGB", (columns * width, -(-len(panels) // columns) * height), "white")
    for index, panel in enumerate(panels):
        sheet.paste(panel.picture, (index % columns * width, index // columns * height))
    small = sheet.resize((sheet.width // FINER, sheet.height // FINER), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    small.save(path)
    return small
