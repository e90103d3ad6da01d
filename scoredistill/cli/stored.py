"""An attempt at a run in a storage: it is fetched to this machine's disk, gone on with, and stored."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from scoredistill.cli.main import PROG, main
from scoredistill.cli.reason import reason
from scoredistill.runs.lock import hold
from scoredistill.sweep.storage import Storage
from scoredistill.sweep.storage_lock import own
from scoredistill.sweep.stored import home
from scoredistill.sweep.transfer import Upload, bring

PAUSE = 0.5  # seconds between two attempts to hold a folder


def resume(url: str, scratch: str, upload_every: float, flags: Sequence[str]) -> int:
    """Go on with the run at a URL, with the flags of `resume`; returns the exit code, and says on stderr what failed.

    What could not be stored stays in the scratch folder, and the next attempt there goes on from it.
    """
    try:
        storage, place = Storage.open(url), home(url, scratch)
        with _held(place), own(storage, place, wait=True):
            return _resume(storage, place / url.rpartition("/")[2], upload_every, flags)
    except (ValueError, OSError) as error:
        print(f"{PROG}: error: {' '.join(reason(error).split())}", file=sys.stderr)
        return 2


def _resume(storage: Storage, folder: Path, upload_every: float, flags: Sequence[str]) -> int:
    trial, upload, code = bring(storage, folder), Upload(folder, storage), 0
    if trial.state() != "done":  # it is where only the upload failed
        with upload.every(upload_every):
            code = main(["resume", str(folder), *flags])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a sweep that stops waits for the upload
    upload.complete()
    if trial.state() == "done":
        shutil.rmtree(folder)
    return code


@contextlib.contextmanager
def _held(place: Path) -> Iterator[None]:
    """Hold a folder for this process, once no other one does."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold(place))
                break
            except ValueError:
                time.sleep(PAUSE)
        yield
