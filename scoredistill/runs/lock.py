"""One process at a time works on a run folder, on this machine and on others that share its storage.

On one machine the system's lock says who that is. Shared storage may have no locks that reach to other machines, so a
holder renews the time of its file as long as it lives: one of another machine that does not is dead.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = ".lock"
BEAT = 5.0  # seconds between two signs of life
SILENCE = 60.0  # seconds without one after which a holder on another machine is dead
BOOT = Path("/proc/sys/kernel/random/boot_id")  # of this machine since it was started, in its containers too

log = logging.getLogger(__name__)


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the system ends the hold of a process that dies.

    ValueError that names the process which holds it, on this machine or, within the last `SILENCE`, on another one; a
    disk without locks is worked on with a warning. A process that stood still so long that another machine has taken
    over ends, with a line: it must write nothing more.
    """
    handle, path, released = _locked(folder), folder / NAME, threading.Event()
    if handle is None:
        yield
        return
    beats = threading.Thread(target=_beat, args=(handle, path, released), daemon=True)
    beats.start()
    try:
        yield
    finally:
        released.set()
        beats.join()  # a late beat would renew the file of the next holder, or end this process over it
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(handle)


def _locked(folder: Path) -> int | None:
    """The open and locked file; None where the disk has no locks."""
    path = folder / NAME
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _lock(handle)
        except (BlockingIOError, PermissionError):
            os.close(handle)
            raise ValueError(f"{folder} is in use by {_owner(path)}: wait for it to end, or stop it") from None
        except OSError as error:
            os.close(handle)
            log.warning("%s cannot be locked (%s): start no second process on it", folder, error.strerror)
            return None
        if _is_current(handle, path):
            break
        os.close(handle)  # its last holder has just removed it
    if _lives_elsewhere(path):
        os.close(handle)
        way_out = f"wait for it to end, or stop it; one that is dead holds it for {SILENCE:.0f} s more"
        raise ValueError(f"{folder} is in use by {_owner(path)}: {way_out}")
    about = {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.truncate(handle, 0)
    os.write(handle, json.dumps(about | {"machine": _machine()}).encode())
    return handle


def _beat(handle: int, path: Path, released: threading.Event) -> None:
    """Renew the time of the held file until it is released; end this process if it names another holder."""
    while not released.wait(BEAT):
        with contextlib.suppress(OSError, ValueError):  # a moved folder, a file that was emptied
            holder = _about(path)
            if (holder.get("machine"), holder.get("process")) != (_machine(), os.getpid()):
                log.error("%s was taken over by %s while this process was suspended", path.parent, _owner(path))
                os._exit(1)
            os.utime(handle if os.utime in os.supports_fd else path)


def _lives_elsewhere(path: Path) -> bool:
    """Whether the file names a holder on another machine that lives, by the clock of the storage."""
    try:
        if _about(path).get("machine", _machine()) == _machine():
            return False
        with tempfile.TemporaryFile(dir=path.parent) as fresh:
            fresh.write(b"now")
            fresh.flush()
            return os.fstat(fresh.fileno()).st_mtime - path.stat().st_mtime < SILENCE
    except (OSError, ValueError):
        return False


def _machine() -> str:
    """What tells this machine from others that share its storage."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return platform.node()


def _about(path: Path) -> dict[str, Any]:
    """What a holder has written; OSError or ValueError where there is nothing like that."""
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise ValueError("not what a holder writes")
    return found


def _lock(handle: int) -> None:
    """Lock a file without waiting; OSError if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _owner(path: Path) -> str:
    """Who holds the lock, as far as its file tells."""
    try:
        about = _about(path)
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
