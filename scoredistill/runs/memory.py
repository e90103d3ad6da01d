"""The memory that this process has used."""

from __future__ import annotations

import sys

import torch

try:
    import resource
except ImportError:  # on Windows
    resource = None


def peak_memory() -> float | None:
    """Peak memory so far in MB: the GPU's where one is used, else the process's; None where it is unknown."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
