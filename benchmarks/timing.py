"""Measurement of execution times: wall or CPU clock, after a warm-up, with the GPU synchronized."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""cpu: seconds of all threads, for a machine whose cores are shared with other work."""


def now(clock: str = "wall") -> float:
    """Seconds on the clock, after all GPU work is finished."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return CLOCKS[clock]()


def seconds(work: Callable[[], object], repeats: int, clock: str = "wall") -> list[float]:
    """The seconds of each of `repeats` calls, after a warm-up call."""
    work()
    taken = []
    for _ in range(repeats):
        began = now(clock)
        work()
        taken.append(now(clock) - began)
    return taken
