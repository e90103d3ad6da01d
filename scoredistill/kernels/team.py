"""Slices of a kernel on a CPU, run in the OpenMP threads of torch's own operations.

Threads of another pool would share a core with OpenMP's, which spin while they wait for the next operation of torch,
and to wake one takes as long as a small kernel. Where OpenMP cannot be called, a pool it is.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

Slice = tuple[ctypes.Structure, ctypes.Structure]
"""The number of indices and the arguments of one slice, as the compiled kernel takes them."""

MACHINES = ("x86_64", "AMD64")
"""Processors on which compiled code counts atomically without a library."""


def run(function: Any, slices: Sequence[Slice]) -> None:
    """Call a compiled kernel for all slices, in torch's threads; a free thread takes the next slice."""
    if len(slices) == 1:
        _call(function, slices[0])
    elif (parallel := available()) is None:
        list(_pool(torch.get_num_threads()).map(functools.partial(_call, function), slices))
    else:
        places = itertools.chain.from_iterable(map(ctypes.addressof, each) for each in slices)
        address = ctypes.cast(function, ctypes.c_void_p).value
        tasks = (ctypes.c_uint64 * (3 + 2 * len(slices)))(0, len(slices), address, *places)
        parallel(_worker(), tasks, torch.get_num_threads(), 0)


def _call(function: Any, each: Slice) -> None:
    function(*map(ctypes.byref, each))


@functools.cache
def available() -> Callable[..., None] | None:
    """OpenMP's entry point for parallel regions, in the library that torch has loaded; None where there is none.

    Its arguments are a function, the function's argument, the number of threads and flags.
    """
    if platform.machine() not in MACHINES:
        return None
    try:
        found = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):  # another OpenMP; Windows
        return None
    found.argtypes, found.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return found


@functools.cache
def _worker() -> int:
    """The address of `kernels.warp.team.WORKER`."""
    import warp as wp

    from scoredistill.kernels.warp.team import address

    found = torch.zeros(1, dtype=torch.int64)
    wp.launch(address, 1, [wp.from_torch(found, wp.uint64)], device="cpu")
    return int(found)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")
