"""The trackers of a run: opened at its first step, and left alone, with one warning, once they fail."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scoredistill.runs.folder import RunFolder, title_of
from scoredistill.runs.log import Record
from scoredistill.runs.origin import settings
from scoredistill.runs.trackers.tensorboard import TensorBoard
from scoredistill.runs.trackers.tracker import Tracked, Tracker
from scoredistill.runs.trackers.trackio import Trackio
from scoredistill.runs.trackers.wandb import WandB

KINDS: dict[str, Callable[[Tracked], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}
INSTALL = 'pip install "scoredistill[log]"'

log = logging.getLogger(__name__)


def check_installed(names: Sequence[str]) -> None:
    """ValueError in one line with the command that installs the libraries, where one of them is missing."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(f"logging to {name} needs its library: {INSTALL} ({error})") from None


class Trackers:
    """All trackers of a run, as a context; `names` are of `KINDS`."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._open: dict[str, Tracker] | None = None

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *error: object) -> None:
        for name, tracker in list((self._open or {}).items()):
            self._try(name, tracker.close)
        self._open = {}

    def row(self, record: Record) -> None:
        """Log the numbers of a step."""
        if self._open is None:
            self._open = self._opened(record["step"])
        values = {name: float(value) for name, value in record.items() if name != "step" and _is_finite(value)}
        for name, tracker in list(self._open.items()):
            self._try(name, lambda tracker=tracker: tracker.scalars(record["step"], values))

    def pictures(self, step: int, files: Mapping[str, Path]) -> None:
        """Log PNG files by their names, without the numbers that sort them."""
        from PIL import Image

        def send(tracker: Tracker) -> None:
            for title, path in files.items():
                with Image.open(path, formats=["PNG"]) as picture:
                    tracker.picture(step, title_of(title), np.asarray(picture.convert("RGB")))

        for name, tracker in list((self._open or {}).items()):
            self._try(name, lambda tracker=tracker: send(tracker))

    def _opened(self, first: int) -> dict[str, Tracker]:
        tracked = Tracked(self.folder.path.absolute(), settings(self.folder.recipe), first)
        found: dict[str, Tracker] = {}
        for name in self.folder.recipe.output.log:
            self._try(name, lambda name=name: found.__setitem__(name, KINDS[name](tracked)))
        return found

    def _try(self, name: str, action: Callable[[], Any]) -> None:
        """Act, or go on without the tracker."""
        try:
            action()
        except Exception as error:  # libraries raise anything: of the disk, of the network, of a database in use
            if self._open is not None:
                self._open.pop(name, None)
            why = " ".join(str(error).split()) or type(error).__name__
            log.warning("nothing more is logged to %s, the run goes on: %s", name, why)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
