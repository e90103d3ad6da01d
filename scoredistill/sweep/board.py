"""What a sweep and its attempts on other machines say to each other: files beside the trials, on storage they share."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

RUN, STOP, KILL = "run", "stop", "kill"
"""What the sweep wants of its attempts: to run, to stop after their step, to end at once."""
NAME = ".board"  # of the folder, in that of the sweep
BEGUN = "begun-"


@dataclass(frozen=True)
class Board:
    """The folder of these files; it is made by the sweep, and ends with it."""

    path: Path

    @classmethod
    def beside(cls, trial: Path) -> Board:
        """That of the sweep in whose folder a trial is."""
        return cls(trial.parent / NAME)

    def open(self) -> None:
        """Make the folder, empty."""
        self.close()
        self.path.mkdir(parents=True)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def begin(self, name: str) -> None:
        """Enter the beginning of a trial."""
        (self.path / f"{BEGUN}{name}").touch()

    def beginnings(self) -> set[str]:
        """The names of the trials that have begun."""
        return {each.name.removeprefix(BEGUN) for each in self.path.glob(f"{BEGUN}*")}

    def want(self, wish: str) -> None:
        """Tell the attempts what to do."""
        (self.path / wish).touch()

    def wanted(self) -> str:
        """What the sweep wants; without its folder it has ended."""
        if not self.path.is_dir():
            return KILL
        return next((wish for wish in (KILL, STOP) if (self.path / wish).exists()), RUN)
