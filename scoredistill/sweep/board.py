"""What a sweep and its attempts on other machines say to each other: files beside the trials, on storage they share."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from scoredistill.sweep.storage import Storage, StorageError, is_url

RUN, STOP, KILL = "run", "stop", "kill"
"""What the sweep wants of its attempts: to run, to stop after their step, to end at once."""
NAME = ".board"  # of the folder, in that of the sweep
OPEN = "open"
BEGUN = "begun-"
PAUSE = 3.0  # seconds between two reads of storage behind a URL


class Board:
    """The folder of these files; it is made by the sweep, and ends with it. It is read every `pause` seconds."""

    def __init__(self, storage: Storage, pause: float) -> None:
        self.storage, self.pause = storage, pause
        self.names: set[str] = set()  # of the files when they were read
        self.read_at = -float("inf")

    @classmethod
    def beside(cls, trial: str) -> Board:
        """That of the sweep in whose folder or URL a trial is; ValueError if that cannot be reached."""
        if is_url(trial):
            return cls(Storage.open(trial.rpartition("/")[0]), PAUSE)
        return cls(Storage.of_folder(Path(trial).parent), 0.0)

    def open(self) -> None:
        """Make the folder, with nothing in it but what says so."""
        self.storage.remove_folder(NAME)
        self._add(OPEN)

    def close(self) -> None:
        """Remove the folder."""
        with contextlib.suppress(StorageError):
            self.storage.remove_folder(NAME)

    def is_open(self) -> bool:
        """Whether the folder is there."""
        return OPEN in self._read()

    def begin(self, name: str) -> None:
        """Enter the beginning of a trial."""
        self._add(f"{BEGUN}{name}")

    def beginnings(self) -> set[str]:
        """The names of the trials that have begun."""
        return {name.removeprefix(BEGUN) for name in self._read() if name.startswith(BEGUN)}

    def want(self, wish: str) -> None:
        """Tell the attempts what to do."""
        if wish not in self.names:
            self._add(wish)

    def wanted(self) -> str:
        """What the sweep wants; without its folder it has ended."""
        names = self._read()
        return next((wish for wish in (KILL, STOP) if wish in names), RUN if OPEN in names else KILL)

    def _add(self, name: str) -> None:
        self.storage.create(f"{NAME}/{name}", b"")
        self.names.add(name)

    def _read(self) -> set[str]:
        """The names of the files; without a connection those that were read last."""
        if time.monotonic() - self.read_at >= self.pause:
            with contextlib.suppress(StorageError):
                self.names = set(self.storage.listing(NAME))
            self.read_at = time.monotonic()
        return self.names
