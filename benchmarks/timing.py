"""How long a piece of work takes: on which clock, and that it is warm and done when the clock is read."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""cpu: seconds of all threads, where other work shares the cores."""


def now(clock: str = "wall") -> float:
    """Seconds, when a GPU has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return CLOCKS[clock]()


def seconds(work: Callable[[], object], repeats: int, clock: str = "wall") -> list[float]:
    """What each of some calls takes, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = now(clock)
        work()
        taken.append(now(clock) - began)
    return taken
