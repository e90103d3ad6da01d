"""A run in the browser while it trains, in the same process: pictures are rendered between steps, never within one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from scoredistill.runs.folder import RunFolder
from scoredistill.runs.log import Record
from scoredistill.viewer.panel import progress
from scoredistill.viewer.server import Server
from scoredistill.viewer.viewer import Viewer

SHARE = 0.2  # of the time, at most, for pictures that no camera asked for
EVERY = 1.0  # seconds between two updates of the curves
PAUSE = 0.05  # seconds between two checks of the cameras while the run is paused

log = logging.getLogger(__name__)


class Live:
    """The view of a run that trains. It draws from no random stream, and an error of it does not end the run.

    `stop` requests the end of the run after its step, `stopping` says whether that is requested.
    """

    def __init__(
        self, server: Server, folder: RunFolder, scene: Any, stop: Callable[[], None], stopping: Callable[[], bool]
    ) -> None:
        self.folder, self.stopping = folder, stopping
        self.viewer = Viewer(server, folder.recipe, scene, folder / "mesh.glb")
        self.viewer.panel.add_buttons(self._toggle, stop)
        self.viewer.panel.add_details(folder.recipe)
        self.paused = self.failed = False
        self._log: list[Record] | None = None
        self._cost, self._sent, self._updated = 0.0, 0.0, 0.0

    def __call__(self, record: Record) -> None:
        """Between two steps: show the scene, and wait while the run is paused."""
        self._guarded(lambda: self._between(record))

    def finishing(self, part: str) -> None:
        """Say which part of the results is being written."""
        self._guarded(lambda: self.viewer.panel.status(f"writing the results: {part}"))

    def _guarded(self, show: Callable[[], object]) -> None:
        """Show something unless the page has stopped; an error stops it."""
        if self.failed:
            return
        try:
            show()
        except Exception as error:  # of the scene's render at another size, of the server, of memory
            self.failed = True
            log.warning("the page has stopped, the run continues: %s", " ".join(str(error).split()))

    def _between(self, record: Record) -> None:
        if self._log is None:
            self._log = [each for each in self.folder.log() if each["step"] < record["step"]]
        self._log.append(record)
        now = time.monotonic()
        if self.paused or self._cost <= SHARE * (now - self._sent):
            self.viewer.touch()
        if self.paused or now - self._updated >= EVERY:
            self._updated = now
            self.viewer.panel.curves(self._log)
            self.viewer.panel.moments(self.folder)
        shown = progress(record, self.folder.recipe.training.steps)
        self.viewer.panel.status(shown)
        self._answer()
        while self.paused and not self.stopping():
            self.viewer.panel.status(f"{shown}; paused")
            if not self._answer():
                self.viewer.wait(PAUSE)

    def _answer(self) -> bool:
        """Send what is due; how long that took bounds how often it is done unasked."""
        began = time.monotonic()
        sent = self.viewer.work()
        if sent:
            self._sent = time.monotonic()
            self._cost = self._sent - began
        return sent

    def _toggle(self) -> bool:
        self.paused = not self.paused
        return self.paused
