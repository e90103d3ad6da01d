"""One process at a time works on a folder of storage without locks: it owns a file there, and renews it.

An owner that does not renew it for a while is dead. What the same scratch folder owned before is free at once: its
lock on that folder has shown that no other process works there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from scoredistill.files import read_limited, write_safely
from scoredistill.sweep.storage import Storage, StorageError

NAME = ".owner"
BEAT = 10.0  # seconds between two signs of life
SILENCE = 45.0  # seconds without one after which an owner is dead
LONGEST = 1000  # bytes of an owner's mark

log = logging.getLogger(__name__)


@contextlib.contextmanager
def own(storage: Storage, scratch: Path, *, wait: bool) -> Iterator[None]:
    """Own a folder of storage for this process, which holds the local folder `scratch`.

    Another process that owns it is waited for, or with `wait` false a ValueError names it; one that is silent is dead.
    A process that was silent so long that another has taken over ends with a line: it must write nothing more.
    """
    token = _token(scratch)
    _acquire(storage, token, wait)
    released = threading.Event()
    beats = threading.Thread(target=_beat, args=(storage, token, released), daemon=True)
    beats.start()
    try:
        yield
    finally:
        released.set()
        beats.join()  # it must not write again what is removed now
        with contextlib.suppress(StorageError):
            if _token_in(storage.read(NAME, LONGEST)) == token:
                storage.remove([NAME])


def _acquire(storage: Storage, token: str, wait: bool) -> None:
    seen, since = b"", time.monotonic()
    while not storage.create(NAME, _mark(token, 0)):
        found = storage.read(NAME, LONGEST)
        if found is None:
            continue
        if found != seen:
            if seen and not wait:
                raise ValueError(f"{storage.url} is in use by {_owner(found)}: wait for it to end, or stop it")
            seen, since = found, time.monotonic()
        if _token_in(found) == token or time.monotonic() - since > SILENCE:
            storage.remove([NAME])
        else:
            time.sleep(BEAT / 10)


def _beat(storage: Storage, token: str, released: threading.Event) -> None:
    """Renew the mark until it is released; end this process if it is another's."""
    beat = 0
    while not released.wait(BEAT):
        with contextlib.suppress(StorageError):  # it is tried again
            found = storage.read(NAME, LONGEST)
            if found is not None and _token_in(found) != token:
                log.error("%s was taken over by %s while this process was suspended", storage.url, _owner(found))
                os._exit(1)
            beat += 1
            storage.write(NAME, _mark(token, beat))


def _token(scratch: Path) -> str:
    """What tells this scratch folder from all others; it stays there."""
    file = scratch / "token"
    if not file.is_file():
        write_safely(file, uuid4().hex.encode())
    return read_limited(file, LONGEST).decode()


def _mark(token: str, beat: int) -> bytes:
    about = {"process": os.getpid(), "host": platform.node(), "token": token, "beat": beat}
    return json.dumps(about).encode()


def _token_in(mark: bytes | None) -> str:
    return str(_about(mark).get("token", ""))


def _owner(mark: bytes) -> str:
    about = _about(mark)
    return f"process {about.get('process', '?')} on {about.get('host', '?')}"


def _about(mark: bytes | None) -> dict[str, object]:
    """What an owner has written; nothing if it is anything else."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(mark or b"{}")
        return found if isinstance(found, dict) else {}
    return {}
