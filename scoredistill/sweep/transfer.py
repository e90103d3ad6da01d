"""A run folder between a node's disk and storage: fetched whole or not at all; what makes it done is stored last.

At every moment the copy in the storage can be gone on from: whatever checkpoint it has, its log reaches that far.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

from scoredistill.recipes.tree import LONGEST
from scoredistill.runs import checkpoint
from scoredistill.runs.folder import CHECKPOINTS, CONFIG, LOG, METRICS, PAGE, is_picture
from scoredistill.runs.folder import LARGEST as LARGEST_METRICS
from scoredistill.runs.log import LARGEST as LARGEST_LOG
from scoredistill.sweep.plan import LARGEST_PICTURE
from scoredistill.sweep.storage import NAME, Storage, StorageError
from scoredistill.sweep.trial import FAILURE, Trial
from scoredistill.sweep.trial import LARGEST as LARGEST_FAILURE

CHECKPOINT = re.compile(rf"{CHECKPOINTS}/(\d{{6,18}})\.safetensors")
REMOVED = ("mesh.glb",)  # files that a run removes where it ends without them
FETCHED = ".fetched-"  # begins the names of folders that are being fetched
OF_SWEEP = (FAILURE,)  # files of the trial in the storage that the sweep itself writes
LIMITS = {CONFIG: LONGEST, METRICS: LARGEST_METRICS, LOG: LARGEST_LOG, FAILURE: LARGEST_FAILURE}
"""Bytes of files that are copied, by name; see `limit_of`."""

log = logging.getLogger(__name__)


class Upload:
    """Stores a run folder, again and again while the run goes on; unchanged files once."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.folder, self.storage = folder, storage
        self.stored: dict[str, tuple[int, int]] = {}  # time of change and size of what has been uploaded
        self.turn = threading.Lock()

    def snapshot(self) -> None:
        """Store what the run can be gone on from, and what shows how far it is; StorageError if that fails."""
        with self.turn:
            self._store(last=[])

    def complete(self) -> None:
        """Store everything, what makes the run done last, and remove what the run has removed."""
        with self.turn:
            self._store(last=[PAGE, METRICS])
            gone = self.storage.files() - local_files(self.folder)
            self.storage.remove(sorted(name for name in gone if CHECKPOINT.fullmatch(name) or name in REMOVED))

    @contextlib.contextmanager
    def every(self, seconds: float) -> Iterator[None]:
        """Take snapshots while the block runs; one that fails is made up for by the next."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(seconds):
                try:
                    self.snapshot()
                except (StorageError, OSError) as error:
                    log.warning("no snapshot was stored, the next one is tried in %.0f s: %s", seconds, error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _store(self, last: Collection[str]) -> None:
        """Store the log, checkpoints from the newest, drop older ones; then all other files; then the `last` ones.

        The log is read after the checkpoints are listed, so it reaches as far as they do.
        """
        files = local_files(self.folder)
        checkpoints = sorted((name for name in files if CHECKPOINT.fullmatch(name)), key=step_of, reverse=True)
        ending = [name for name in (PAGE, METRICS) if name in files]
        others = sorted(files - {CONFIG, LOG, *checkpoints, *ending})
        for name in (CONFIG, LOG, *checkpoints):
            self._upload(name)
        there = {f"{CHECKPOINTS}/{name}" for name in self.storage.listing(CHECKPOINTS)}
        past = {name for name in there if CHECKPOINT.fullmatch(name) and name not in checkpoints}
        if checkpoints:
            self.storage.remove(sorted(name for name in past if step_of(name) < step_of(checkpoints[0])))
        for name in (*others, *(name for name in ending if name in last)):
            self._upload(name)

    def _upload(self, name: str) -> None:
        file = self.folder / name
        try:
            state = file.stat()
            mark = (state.st_mtime_ns, state.st_size)
            if self.stored.get(name) != mark:
                self.storage.upload(file, name)
                self.stored[name] = mark
        except OSError:
            if file.exists():  # not one that the run has removed meanwhile
                raise


def local_files(folder: Path) -> set[str]:
    """The names of all regular files in a folder and its folders, relative to it, without hidden ones and links."""
    found = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        linked = any((folder / part).is_symlink() for part in (name, *_parents(name)))
        if NAME.fullmatch(name) and path.is_file() and not linked:
            found.add(name)
    return found


def fetch(storage: Storage, folder: Path) -> None:
    """Replace a local folder by the run in the storage; it is left as it is if that fails.

    Only for the process that holds the folder around it.
    """
    for unfinished in folder.parent.glob(f"{FETCHED}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=FETCHED, dir=folder.parent))
    try:
        for name in sorted(storage.files() - {*OF_SWEEP}):
            storage.download(name, fresh / name, limit_of(name))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.replace(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def bring(storage: Storage, folder: Path) -> Trial:
    """The trial in a local folder, which goes on from where the folder or the storage is, whichever is farther.

    ValueError if the storage holds no run.
    """
    text = storage.read(CONFIG, limit_of(CONFIG))
    if text is None:
        raise ValueError(f"{storage.url} holds no {CONFIG}: start the sweep again")
    if not (_is_same_run(storage, folder) and _reached(local_files(folder)) >= _reached(storage.files())):
        fetch(storage, folder)
    return Trial.open(folder)


def _is_same_run(storage: Storage, folder: Path) -> bool:
    """Whether the local folder holds the run of the storage, on whatever device."""
    if not (folder / CONFIG).is_file():
        return False
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        for name in storage.files():
            if name == CONFIG or is_picture(name):
                storage.download(name, Path(place) / name, limit_of(name))
        try:
            Trial(folder, Trial.open(Path(place)).recipe).check()
        except ValueError:
            return False
    return True


def limit_of(name: str) -> int:
    """The bytes of a file of a run that are copied at most: as many as are read of it, or of the largest file."""
    return LARGEST_PICTURE if is_picture(name) else LIMITS.get(name, checkpoint.LARGEST)


def step_of(name: str) -> int:
    """The step of a checkpoint."""
    match = CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else -1


def _reached(names: Collection[str]) -> tuple[int, bool]:
    """How far a run is: the step of its newest checkpoint, -1 without any, and whether it has come to an end."""
    return max(map(step_of, names), default=-1), METRICS in names


def _parents(name: str) -> list[str]:
    return [str(parent) for parent in Path(name).parents][:-1]
