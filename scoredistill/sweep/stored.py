"""A sweep whose results are on storage behind a URL: every trial is the folder URL/NAME.

The sweep has a local copy of what says where each trial stands. Each attempt, on whatever machine, works in a folder
of its own there, which it fetches first and stores at its end, and every so many seconds meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from scoredistill.config import Config, Range
from scoredistill.files import write_safely
from scoredistill.runs.folder import CONFIG, METRICS, PAGE, is_picture
from scoredistill.runs.lock import hold
from scoredistill.sweep.conduct import PLAN, Report, Tally, run_trials
from scoredistill.sweep.engine import End, Engine
from scoredistill.sweep.plan import SweepConfig, trials, with_prompts, write_plan
from scoredistill.sweep.storage import Storage, StorageError
from scoredistill.sweep.storage_lock import own
from scoredistill.sweep.transfer import limit_of
from scoredistill.sweep.trial import FAILURE, Failure, Trial

COPIED = (CONFIG, METRICS, FAILURE)
AT_ONCE = 16  # trials whose state is read at the same time

UploadEvery = Annotated[float, Range(0.1, 86_400)]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place(Config):
    """Where the results of a sweep are, and how its attempts work on them."""

    storage: Storage
    scratch: str = ""  # a folder of every machine's own disk; by default one of the user's cache
    upload_every: UploadEvery = 60.0  # seconds between two snapshots of a run

    def trials(self, plan: SweepConfig, folder: Path) -> list[StoredTrial]:
        """The trials of a plan; `folder` holds the copies of what says where they stand, which are made anew."""
        found = [
            StoredTrial(trial.path, trial.recipe, self.storage.within(trial.name), self)
            for trial in trials(plan, folder)
        ]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(StoredTrial.renew, found))
        return found


@dataclass(frozen=True)
class StoredTrial(Trial):
    """A trial whose folder is in a storage; `path` is a copy of what says where it stands."""

    storage: Storage
    place: Place

    def words(self, device: str = "") -> list[str]:
        """The command that `cli.worker` has for a run in a storage."""
        command, _, *flags = super().words(device)
        return [command, self.storage.url, self.place.scratch, f"{self.place.upload_every}", *flags]

    def prepare(self) -> None:
        """Make the run's folder in the storage unless it is there; without a connection its attempt fails."""
        new = not (self.path / CONFIG).is_file()
        super().prepare()
        if new:
            with _noted():
                for name in (*sorted(filter(is_picture, os.listdir(self.path))), CONFIG):
                    self.storage.upload(self.path / name, name)

    def record_failure(self, line: str) -> Failure:
        """Write down that an attempt failed, and why, here and in the storage."""
        failure = super().record_failure(line)
        with _noted():
            self.storage.upload(self.path / FAILURE, FAILURE)
        return failure

    def forget_failure(self) -> None:
        """Remove the record of earlier attempts."""
        super().forget_failure()
        with _noted():
            self.storage.remove([FAILURE])

    def renew(self) -> None:
        """Copy what says where the run stands; StorageError if that fails."""
        there = self.storage.listing()
        for name in (*COPIED, PAGE):
            if name not in there:
                (self.path / name).unlink(missing_ok=True)
        for name in there:
            if name in COPIED or is_picture(name):
                self.storage.download(name, self.path / name, limit_of(name))
        if PAGE in there:
            write_safely(self.path / PAGE, b"")


@dataclass(frozen=True)
class _Renewing:
    """An engine after whose attempts the storage says where their trials stand."""

    engine: Engine

    def run(
        self, trials: Sequence[Trial], started: Callable[[Trial], object], stop: Callable[[], bool]
    ) -> Iterator[End]:
        """As `Engine.run`; a trial whose state cannot be read has failed."""
        with contextlib.closing(self.engine.run(trials, started, stop)) as ends:  # type: ignore[type-var]
            for end in ends:
                try:
                    end.trial.renew()
                except StorageError as error:
                    yield replace(end, code=end.code or 1, line=end.line or str(error))
                else:
                    yield end


def conduct_stored(
    plan: SweepConfig, place: Place, engine: Engine, *, retries: int, report: Report, stop: Callable[[], bool]
) -> Tally:
    """As `conduct`, with the trials' folders in a storage; StorageError if that cannot be reached at the beginning."""
    storage, folder = place.storage, home(place.storage.url, place.scratch)
    with hold(folder), own(storage, folder, wait=False):
        planned = place.trials(plan, folder)
        for trial in planned:
            trial.check()
        storage.write(PLAN, write_plan(with_prompts(plan)).encode())
        return run_trials(planned, _Renewing(engine), retries=retries, report=report, stop=stop)


def home(url: str, scratch: str) -> Path:
    """The folder of this machine's disk for what a URL names; it is made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scoredistill"
    name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    found = Path(scratch or cache / "sweeps").absolute() / name
    found.mkdir(parents=True, exist_ok=True)
    return found


@contextlib.contextmanager
def _noted() -> Iterator[None]:
    """A lost connection as a warning: the trial's attempt fails by itself, and a record stays here."""
    try:
        yield
    except StorageError as error:
        log.warning("%s", error)
