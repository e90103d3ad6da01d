"""Commands in forked children of a process that has imported everything: half a second each instead of five.

A child has its own standard streams, process group and memory limit, so that whatever a command does ends with it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NoReturn

MEMORY = 6 * 2**30  # bytes of address space of a child
IDLE = 0.02  # share of the processor below which a process counts as waiting
CLOSED = "http://127.0.0.1:9"  # nothing listens there: as if there were no network


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int  # exit code, or -N where signal N ended it
    out: str
    err: str
    seconds: float  # of wall clock
    late: bool = False  # whether it was killed at its time limit


class Child:
    """A command that runs in a child process."""

    def __init__(self, pid: int, out: IO[bytes], err: IO[bytes]) -> None:
        self.pid, self.out, self.err = pid, out, err
        self.began = time.monotonic()
        self.handle = os.pidfd_open(pid)

    def ended(self, seconds: float) -> bool:
        """Wait until the command has ended, `seconds` at most; whether it has."""
        return bool(select.select([self.handle], [], [], max(seconds, 0.0))[0])

    def send(self, number: int) -> None:
        """Send a signal to the process of the command alone, not to those that it started."""
        signal.pidfd_send_signal(self.handle, number)

    def outcome(self, seconds: float) -> Outcome:
        """Wait for the end, `seconds` at most, then kill it with all that it started.

        On a busy machine a process that works is given `seconds` of processor time instead of wall clock.
        """
        late, used = not self.ended(seconds), 0.0
        while late and used + IDLE * seconds < self._processor_time() < seconds:
            used = self._processor_time()
            late = not self.ended(seconds)
        if late:
            os.killpg(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        elapsed = time.monotonic() - self.began
        with contextlib.suppress(ProcessLookupError):  # what it started, such as an encoder
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self.handle)
        texts = [_content(stream) for stream in (self.out, self.err)]
        return Outcome(code, texts[0], texts[1], elapsed, late)

    def _processor_time(self) -> float:
        """Seconds of processor time that the process has used."""
        values = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, values[11:13])) / os.sysconf("SC_CLK_TCK")


def warm(cache: Path) -> None:
    """Import all that commands import when they need it, without a network, with one thread.

    `cache` is the folder of the hub's cache, which has to be set before the hub's client is imported.
    """
    os.environ |= {"HF_ENDPOINT": CLOSED, "HTTPS_PROXY": CLOSED, "HTTP_PROXY": CLOSED, "HF_HOME": str(cache)}
    os.environ.pop("SCOREDISTILL_DEBUG", None)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # leave no folders and mounts behind
    import fast_simplification  # noqa: F401
    import imageio_ffmpeg  # noqa: F401
    import mcubes  # noqa: F401
    import PIL.Image
    import scipy.ndimage  # noqa: F401
    import torch
    import trimesh  # noqa: F401
    import tyro  # noqa: F401
    import xatlas  # noqa: F401

    from scoredistill.cli import main  # noqa: F401
    from scoredistill.runs import renders

    PIL.Image.init()
    torch.set_num_threads(1)
    renders.RESOLUTION = 32  # of previews and evaluated views, which would take longer than a tiny run


def start(arguments: Sequence[str], folder: Path, before: Callable[[], object] = int, memory: int = MEMORY) -> Child:
    """Start a command in `folder`; `before` is called in the child first."""
    out, err = TemporaryFile(), TemporaryFile()  # noqa: SIM115 (`Child.outcome` closes them)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _become(arguments, folder, before, memory, out.fileno(), err.fileno())
    with contextlib.suppress(PermissionError, ProcessLookupError):  # the child does it too: whoever is first
        os.setpgid(pid, pid)
    return Child(pid, out, err)


def call(
    arguments: Sequence[str],
    folder: Path,
    seconds: float = 60.0,
    before: Callable[[], object] = int,
    memory: int = MEMORY,
) -> Outcome:
    """Run a command to its end, `seconds` at most."""
    return start(arguments, folder, before, memory).outcome(seconds)


def _become(
    arguments: Sequence[str], folder: Path, before: Callable[[], object], memory: int, out: int, err: int
) -> NoReturn:
    """Be the command's process; never returns to the parent's code."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(descriptor, number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8")  # noqa: SIM115
        sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        logging.getLogger().handlers.clear()
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        before()
        from scoredistill.cli import main

        code = main(list(arguments))
        sys.stdout.flush()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        sys.stdout.flush()
    except BaseException:  # a traceback, as the interpreter would print it
        traceback.print_exc()
    finally:
        os._exit(code)


def _content(stream: IO[bytes]) -> str:
    with stream:
        stream.seek(0)
        return stream.read(200_000).decode("utf-8", "backslashreplace")
