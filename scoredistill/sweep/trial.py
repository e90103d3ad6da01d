"""One run of a sweep: its folder, its recipe, and how far it is, which its folder says."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scoredistill.files import json_bytes, read_object, write_safely
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.runs.folder import CONFIG, PAGE, RunFolder, metrics_in
from scoredistill.runs.lock import hold
from scoredistill.runs.origin import changed_settings, settings

FAILURE = "failed.json"
"""Why a trial failed, in the folder of its run."""
LARGEST = 1 << 20  # bytes of it that are read

State = Literal["new", "interrupted", "failed", "done"]


@dataclass(frozen=True)
class Failure:
    """How often a trial failed, and the line that the last attempt ended with."""

    attempts: int
    line: str


@dataclass(frozen=True)
class Trial:
    """A run of a sweep."""

    path: Path
    recipe: Recipe

    @classmethod
    def open(cls, path: Path) -> Trial:
        """The trial in a folder that `prepare` has made; ValueError in one line if it is no run folder."""
        return cls(path, RunFolder.open(path).recipe)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.name

    def prepare(self) -> None:
        """Make the run's folder unless it is there; ValueError or OSError in one line where that fails."""
        if not (self.path / CONFIG).is_file():
            (self.path / FAILURE).unlink(missing_ok=True)
            RunFolder.create(self.recipe, self.path)

    def words(self, device: str = "") -> list[str]:
        """The command that goes on with the run, on a device or on that of its recipe."""
        return ["resume", str(self.path), *(["--prior.device", device] if device else [])]

    def check(self) -> None:
        """ValueError in one line if the folder holds another run than this one; on which device does not matter."""
        if not (self.path / CONFIG).is_file():
            return
        found = RunFolder.open(self.path).recipe
        wanted = changed(self.recipe, "prior.device", found.prior.device)
        saved = {"settings": settings(found), "files": {}, "machine": {}}
        changes = changed_settings(saved, wanted, all_of_them=True)
        pictures = [each.prompt.picture.file for each in (found, wanted)]
        if all(pictures) and not filecmp.cmp(*pictures, shallow=False):
            changes.append("the picture was another one")
        if changes:
            raise ValueError(
                f"{self.path} holds another run than the sweep's: {'; '.join(changes)}; choose another --out, or "
                "move the folder away"
            )

    def state(self) -> State:
        """Where the run stands; a run that came to its end with nothing to show for it has failed."""
        if not (self.path / CONFIG).is_file():
            return "new"
        metrics = metrics_in(self.path)
        complete = metrics.get("steps") == self.recipe.training.steps and (self.path / PAGE).is_file()
        if complete and not metrics.get("diverged"):
            return "done"
        return "interrupted" if self.failure() is None else "failed"

    def renew(self) -> None:
        """Bring the folder up to date after an attempt: it is, since the attempt has worked in it."""

    def failure(self) -> Failure | None:
        """The failure that was recorded, if any."""
        found = read_object(self.path / FAILURE, LARGEST)
        attempts, line = found.get("attempts"), found.get("line")
        return Failure(attempts, line) if isinstance(attempts, int) and isinstance(line, str) else None

    def record_failure(self, line: str) -> Failure:
        """Write down that an attempt failed, and why; OSError if the disk refuses."""
        before = self.failure()
        failure = Failure(1 if before is None else before.attempts + 1, line)
        self.path.mkdir(parents=True, exist_ok=True)
        write_safely(self.path / FAILURE, json_bytes({"attempts": failure.attempts, "line": failure.line}))
        return failure

    def forget_failure(self) -> None:
        """Remove the record of earlier attempts from a run that is done."""
        (self.path / FAILURE).unlink(missing_ok=True)

    def free(self) -> bool:
        """Whether no process works on the run."""
        if not self.path.is_dir():
            return True
        try:
            with hold(self.path):
                return True
        except ValueError:
            return False
