"""Parts of a batch on threads of their own.

On a CPU this takes less time than torch's threads within each operation, which wait for each other after every one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

MOST = 4  # Python's interpreter serves one thread at a time, so that more would wait for it

Part = TypeVar("Part")
Result = TypeVar("Result")


def thread_count() -> int:
    """How many parts of a batch are computed at the same time: one for each of torch's threads, at most `MOST`."""
    return min(torch.get_num_threads(), MOST)


def on_threads(function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """The function's results without gradients, each part on a thread, among which torch's threads are divided."""

    @torch.no_grad()
    def work(part: Part) -> Result:
        return function(part)

    parts = list(parts)
    if len(parts) == 1:
        return [work(parts[0])]
    return list(_pool(os.getpid(), len(parts), torch.get_num_threads() // len(parts)).map(work, parts))


@lru_cache
def _pool(process: int, count: int, share: int) -> ThreadPoolExecutor:
    """`count` threads of a process, in each of which torch uses `share` threads."""
    before, started = torch.get_num_threads(), threading.Barrier(count)

    def start() -> None:
        torch.get_num_threads()  # a thread's first call replaces its number by that of the process
        torch.set_num_threads(share)
        started.wait()

    pool = ThreadPoolExecutor(count, "denoiser", start)
    list(pool.map(lambda _: None, range(count)))
    torch.set_num_threads(before)  # also that of the process, which the threads have changed
    return pool
