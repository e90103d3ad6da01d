"""One process at a time works on a run folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

NAME = ".lock"

log = logging.getLogger(__name__)


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the system ends the hold of a process that dies.

    ValueError that names the process which holds it; a disk without locks is worked on with a warning.
    """
    handle = _locked(folder)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                (folder / NAME).unlink(missing_ok=True)
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
    about = {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.truncate(handle, 0)
    os.write(handle, json.dumps(about).encode())
    return handle


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
        about = json.loads(path.read_text())
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
