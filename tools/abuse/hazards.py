"""What may be wrong around a run: no room, no memory, no permission, no terminal, a signal."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

Before = Callable[[], None]  # what a child calls before its command


def largest_file(size: int) -> Before:
    """No file grows beyond `size` bytes: the error of a full disk, in the middle of a file."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def memory_beyond_now(size: int) -> Before:
    """No more than `size` bytes of address space beyond those in use."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        total = pages * os.sysconf("SC_PAGE_SIZE") + size
        resource.setrlimit(resource.RLIMIT_AS, (total, total))

    return limit


def closed(*descriptors: int) -> Before:
    """Standard streams that the shell closed, as `>&-` does."""

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)
            setattr(sys, ("stdin", "stdout", "stderr")[descriptor], None)

    return close


def reader_gone() -> None:
    """Stdout is a pipe that nobody reads any more, as in `| head -1`."""
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)


def full_stdout() -> None:
    """Stdout is on a full disk."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


STREAMS: dict[str, Before] = {
    "closed stdout": closed(1),
    "closed stdout and stdin": closed(0, 1),
    "all streams closed": closed(0, 1, 2),
    "a reader that leaves": reader_gone,
    "a full stdout": full_stdout,
}


class Disk:
    """A file system of its own in memory, of a size that can change, read-only or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def become(self, size: int, writable: bool = True) -> None:
        """Take another size in bytes, and permission."""
        _mount("-o", f"remount,size={size},{'rw' if writable else 'ro'}", str(self.folder))


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk | None]:
    """A small file system at `folder`; None where this process may not mount one."""
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


def size_of(rng: random.Random, most: int) -> int:
    """A size up to `most`, small ones as likely as large ones, but room for an error message."""
    return max(4096, int(most * rng.random() ** 2))
