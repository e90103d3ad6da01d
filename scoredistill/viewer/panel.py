"""The panel beside the picture: the run, how far it is, what is shown, curves and moments. All text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from scoredistill.config import dotted, to_plain
from scoredistill.export.page import format_value, table
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.log import Record
from scoredistill.viewer.server import Server

SIZES = ("64", "128", "256", "512", "1024")  # pixels of the height at rest; while the camera moves, a quarter
SIZE = "256"
CURVES = ("grad_norm", "t", "residual", "opacity")  # of the log, those that the run has
POINTS = 500  # of a curve, at most
NEWEST = "newest"
FIGURE = "padding: 0 1em; overflow-wrap: anywhere"
TABLE = "font-size: 75%; max-height: 24em; overflow: auto; padding: 0 0.5em; overflow-wrap: anywhere"


class Panel:
    """The elements of the panel; `changed` is called when the user chooses another view."""

    def __init__(self, server: Server, recipe: Recipe, kinds: Sequence[str], changed: Callable[[], None]) -> None:
        self.gui = server.gui
        about = f"{name_of(recipe.method)}, {name_of(recipe.scene)} scene, seed {recipe.training.seed}"
        prior = Path(recipe.prior.name).name
        self.gui.add_html(
            f'<div style="{FIGURE}"><b>{escape(recipe.prompt.text)}</b><br>{escape(f"{about}, prior {prior}")}</div>'
        )
        self._status = self.gui.add_html("")
        self.status("before the first step")
        self.kind = self.gui.add_dropdown("show", tuple(kinds), hint="what is rendered")
        hint = "height of the render in pixels when the camera rests"
        self.size = self.gui.add_dropdown("resolution", SIZES, initial_value=SIZE, hint=hint, visible=not recipe.flat)
        for handle in (self.kind, self.size):
            handle.on_update(lambda event: changed())
        self.state: Any = None
        self._curves: Any = None
        self._charts: dict[str, Any] = {}
        self._moments: list[tuple[str, list[Path]]] = []
        self._moment_folder: Any = None
        self._slider: Any = None
        self._images: list[Any] = []

    def add_details(self, recipe: Recipe) -> None:
        """Folded below everything else: the curves of the log, the inputs of the prior, all settings."""
        self._curves = self.gui.add_folder("Curves", expand_by_default=False)
        self._moment_folder = self.gui.add_folder("Moments", expand_by_default=False, visible=False)
        with self._moment_folder:
            self._caption = self.gui.add_html("")
        with self.gui.add_folder("Settings", expand_by_default=False):
            settings = {name: value for name, value in dotted(to_plain(recipe)).items() if value != ""}
            self.gui.add_html(f'<div style="{TABLE}">{table(settings)}</div>')

    def status(self, text: str) -> None:
        """Show how far the run is."""
        content = f'<div style="{FIGURE}">{escape(text)}</div>'
        if self._status.content != content:
            self._status.content = content

    def add_states(self, changed: Callable[[], None]) -> None:
        """A choice of the newest checkpoint and those that are still there."""
        self.state = self.gui.add_dropdown("checkpoint", (NEWEST,), hint="newest: follows the run while it continues")
        self.state.on_update(lambda event: changed())

    def states(self, indices: Sequence[int]) -> None:
        """Offer these checkpoints."""
        offer(self.state, (NEWEST, *(f"step {index}" for index in reversed(indices))))

    def chosen(self) -> int | None:
        """The index of the chosen checkpoint; None for the newest."""
        return None if self.state.value == NEWEST else int(self.state.value.split()[1])

    def kinds(self, kinds: Sequence[str]) -> None:
        """Offer these views."""
        offer(self.kind, tuple(kinds))

    def curves(self, log: Sequence[Record]) -> None:
        """Draw the curves of a log, of at most `POINTS` steps."""
        log = log[:: max(1, -(-len(log) // POINTS))]
        for name in CURVES:
            values = np.array([record.get(name, np.nan) for record in log], dtype=np.float64)
            if len(log) < 2 or not np.isfinite(values).any():
                continue
            data = (np.array([record["step"] for record in log], dtype=np.float64), values)
            if name in self._charts:
                self._charts[name].data = data
            else:
                self._charts[name] = self._chart(name.replace("_", " "), data)

    def moments(self, folder: RunFolder) -> None:
        """Offer the pictures of the prior's input and output, by the step that they are of."""
        found = [(f"step {index}", list(pictures.values())) for index, pictures in folder.traces().items()]
        if found == self._moments:
            return
        self._moments = found
        if self._slider is not None:
            self._slider.remove()
            self._slider = None
        self._moment_folder.visible = bool(found)
        if len(found) > 1:
            with self._moment_folder:
                self._slider = self.gui.add_slider(
                    "moment", min=0, max=len(found) - 1, step=1, initial_value=len(found) - 1, order=-1
                )
                self._slider.on_update(lambda event: self._show_moment(int(self._slider.value)))
        self._show_moment(len(found) - 1)

    def add_buttons(self, pause: Callable[[], bool], stop: Callable[[], None]) -> None:
        """Buttons to pause the run (`pause` returns whether it is paused now) and to stop it."""
        toggle = self.gui.add_button("Pause", hint="pause after the current step; press again to continue")
        halt = self.gui.add_button("Stop", hint="after the step, with a checkpoint and the results, as Ctrl-C does")

        @toggle.on_click
        def _(event: Any) -> None:
            toggle.label = "Continue" if pause() else "Pause"

        @halt.on_click
        def _(event: Any) -> None:
            toggle.disabled = halt.disabled = True
            stop()

    def _chart(self, name: str, data: tuple[np.ndarray, np.ndarray]) -> Any:
        series: Any = ({"label": "step"}, {"label": name, "stroke": "#1c7ed6", "width": 1})
        with self._curves:
            scales: Any = {"x": {"time": False}}
            return self.gui.add_uplot(data, series, title=name, scales=scales, aspect=2.0)

    def _show_moment(self, number: int) -> None:
        """Show the pictures of a moment; earlier ones are removed."""
        from PIL import Image

        for image in self._images:
            image.remove()
        self._images = []
        if not 0 <= number < len(self._moments):
            return
        title, paths = self._moments[number]
        self._caption.content = f'<div style="{FIGURE}">{escape(title)}</div>'
        with self._moment_folder:
            for path in paths:
                with Image.open(path, formats=["PNG"]) as picture:
                    content = np.asarray(picture.convert("RGB"))
                label = path.stem.rpartition("-")[2]
                self._images.append(self.gui.add_image(content, label=label, format="png"))


def offer(handle: Any, options: Sequence[str]) -> None:
    """Set the options of a dropdown, unless it has them already; a choice that is gone becomes the first one."""
    if tuple(handle.options) != tuple(options):
        handle.options = tuple(options)


def progress(record: Record, steps: int) -> str:
    """The record of a step in a line."""
    parts = [f"step {record['step'] + 1} of {steps}"]
    for name, label in (("t", "t"), ("grad_norm", "|grad|")):
        if isinstance(record.get(name), int | float):
            parts.append(f"{label} {format_value(float(record[name]))}")
    return ", ".join(parts)
