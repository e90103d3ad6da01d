"""Data-parallel training processes: on a CPU, one single-threaded process per core is faster than threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import distributed, nn


@contextmanager
def parallel(rank: int, workers: int, meeting: Path) -> Iterator[None]:
    """Join a group of `workers` processes through the file `meeting`, which must not exist before; no-op for one."""
    if workers == 1:
        yield
        return
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{meeting.absolute()}", rank=rank, world_size=workers)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def average_gradients(net: nn.Module, workers: int) -> None:
    """Replace every gradient by its mean over all processes, in one message."""
    if workers == 1:
        return
    grads = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    distributed.all_reduce(flat)
    flat /= workers
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def agreed(seconds: float, workers: int) -> float:
    """The elapsed seconds of the first process, so that all processes stop at the same step."""
    if workers == 1:
        return seconds
    clock = torch.tensor(seconds, dtype=torch.float64)
    distributed.broadcast(clock, 0)
    return float(clock)
