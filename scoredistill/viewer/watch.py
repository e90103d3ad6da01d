"""A run folder in the browser: finished, interrupted, or of a run that goes on in another process.

The folder is only read, without its lock; a run that goes on is followed by its newest checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from scoredistill.recipes.build import build_scene, build_scene_to_load
from scoredistill.recipes.preset import resolved_device
from scoredistill.recipes.recipe import changed
from scoredistill.runs.folder import CONFIG, RunFolder
from scoredistill.runs.log import Record
from scoredistill.viewer.panel import progress
from scoredistill.viewer.server import Server
from scoredistill.viewer.viewer import Viewer

EVERY = 1.0  # seconds between two reads of the folder
PAUSE = 0.05  # seconds between two checks of the cameras


class Watch:
    """The view of a run folder; ValueError for a folder that is none, or whose checkpoints cannot be read."""

    def __init__(self, path: Path, server: Server) -> None:
        self.folder = RunFolder.open(path)
        recipe = changed(self.folder.recipe, "prior.device", resolved_device("auto"))
        self.scene = (build_scene_to_load if self.folder.checkpoints() else build_scene)(recipe)
        self.viewer = Viewer(server, recipe, self.scene, self.folder / "mesh.glb")
        self.viewer.panel.add_states(self._choose)
        self.viewer.panel.add_details(recipe)
        self._loaded: int | None = None  # the checkpoint in the scene
        self._tried: int | None = None  # the one that was to be loaded last; a damaged one is replaced by an older one
        self._log: list[Record] = []
        self._stamps: dict[str, object] = {}  # what the folder held at the last look
        self._chosen = False
        self._refresh()

    def run(self, stop: Callable[[], bool]) -> None:
        """Answer the browsers and follow the folder until `stop()`."""
        looked = time.monotonic()
        while not stop():
            if self._chosen or time.monotonic() - looked >= EVERY:
                self._chosen, looked = False, time.monotonic()
                try:
                    self._refresh()
                except (ValueError, OSError) as error:  # moved, removed, or damaged meanwhile
                    self.viewer.panel.status(str(error))
            if not self.viewer.work():
                self.viewer.wait(PAUSE)

    def _choose(self) -> None:
        self._chosen = True
        self.viewer.touch()

    def _refresh(self) -> None:
        """Take over what is new in the folder."""
        panel, folder = self.viewer.panel, self.folder
        if not (folder / CONFIG).is_file():
            raise ValueError(f"{folder.path} is gone: what was read of it before is shown")
        indices = folder.checkpoints()
        panel.states(indices)
        wanted = panel.chosen()
        wanted = max(indices, default=None) if wanted is None else wanted
        if wanted is not None and wanted != self._tried:
            self._tried = wanted
            self.folder = folder = RunFolder.open(folder.path)  # its steps may be others by now
            state = folder.load(index=panel.chosen())
            if state is not None:
                self.scene.load_state_dict(state["scene"])
                self._loaded = state["index"]
                self.viewer.touch()
        if self._is_new("log.jsonl"):
            self._log = folder.log()
            panel.curves(self._log)
        if self._is_new("trace"):
            panel.moments(folder)
        if self._is_new("mesh.glb"):
            panel.kinds(self.viewer.kinds())
            self.viewer.touch()
        panel.status(self._status())

    def _is_new(self, name: str) -> bool:
        """Whether a file or folder has changed since the last look."""
        try:
            about = (self.folder / name).stat()
            stamp = (about.st_mtime_ns, about.st_size)
        except FileNotFoundError:
            stamp = None
        before, self._stamps[name] = self._stamps.get(name), stamp
        return stamp != before

    def _status(self) -> str:
        steps = self.folder.recipe.training.steps
        if self._loaded is None:
            return f"no checkpoint yet: the scene before the first of {steps} steps"
        record = next((each for each in reversed(self._log) if each["step"] == self._loaded), {"step": self._loaded})
        return progress(record, steps)
