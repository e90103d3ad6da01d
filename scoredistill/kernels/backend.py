"""Which implementation serves a kernel: the torch reference, or its fast twin compiled by warp for CPU and CUDA.

The environment variable SCOREDISTILL_KERNELS, or `using`, says torch, warp or auto: warp where it can.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

CHOICES = ("auto", "torch", "warp")
VARIABLE = "SCOREDISTILL_KERNELS"
LEAST = 2048
"""Fewest kernel threads worth a CPU thread of their own: handing them over costs some 50 us."""

_chosen: list[str] = []
"""What `using` asks for, innermost last."""


@contextmanager
def using(choice: str) -> Iterator[None]:
    """Kernels called inside are served by `choice`: torch, warp or auto; ValueError for anything else."""
    _chosen.append(_valid(choice))
    try:
        yield
    finally:
        _chosen.pop()


def choice() -> str:
    """torch, warp or auto: what the innermost `using` says, or else the environment variable, or else auto."""
    return _chosen[-1] if _chosen else _valid(os.environ.get(VARIABLE, "auto"))


def fast(*tensors: Tensor) -> bool:
    """Whether warp serves a kernel on these tensors.

    It needs float32 wherever numbers are not integers, on a device that warp drives. Where it is to serve and
    cannot, the reason is logged, once; ValueError with the reason where it was asked for by name and is not there.
    """
    if choice() == "torch":
        return False
    device = tensors[0].device
    reason = unavailable(device)
    if reason and choice() == "warp":
        raise ValueError(f"kernels by warp were asked for, but {reason}; {VARIABLE}=auto takes torch instead")
    other = {str(tensor.dtype) for tensor in tensors if tensor.is_floating_point()} - {"torch.float32"}
    if other and not reason:
        reason = f"warp's kernels are for float32, not {', '.join(sorted(other))}"
    if reason:
        explain(reason)
    return not reason


def unavailable(device: torch.device) -> str:
    """Why warp cannot serve this device; empty where it can."""
    if device.type not in ("cpu", "cuda"):
        return f"warp has no kernels for {device.type}"
    reason = _start()
    if not reason and device.type == "cuda" and not _drives_cuda():
        reason = "warp finds no CUDA driver"
    return reason


@functools.cache
def explain(reason: str) -> None:
    """Log, once for each reason, that the torch reference serves."""
    logging.getLogger(__name__).warning("the torch reference of a kernel is used, which is slower: %s", reason)


def launch(
    kernel: Any,
    count: int,
    arguments: Sequence[Any],
    device: torch.device,
    *,
    grain: int | None = None,
    least: int = LEAST,
) -> None:
    """Run warp's `kernel` for the indices 0 .. count - 1; its first argument is the first index of a slice.

    On a CPU, where warp runs a launch on one thread, the indices are cut into a slice of at least `least` of them for
    each of torch's threads; with a `grain`, into slices of this length, for kernels that must not meet a neighbor's.
    A launch releases the GIL.
    """
    import warp as wp

    if not count:
        return
    kinds = [argument.type for argument in kernel.adj.args[1:]]
    values = [  # once for all slices: handing over a tensor takes longer than starting a launch
        wp.from_torch(value.detach(), kind.dtype, return_ctype=True) if isinstance(value, Tensor) else value
        for value, kind in zip(arguments, kinds, strict=True)
    ]
    if device.type == "cuda":
        with torch.cuda.device(device):
            stream = wp.stream_from_torch(torch.cuda.current_stream(device))
            wp.launch(kernel, count, [0, *values], stream=stream)
        return
    commands: list[Any] = [
        wp.launch(kernel, end - begin, [begin, *values], device="cpu", record_cmd=True)
        for begin, end in slices(count, torch.get_num_threads(), grain, least)
    ]
    _run([command.launch for command in commands])


def slices(count: int, threads: int, grain: int | None = None, least: int = LEAST) -> list[tuple[int, int]]:
    """[begin, end) of each slice: `threads` about equal ones of at least `least` indices, or of `grain` each."""
    if grain is None:
        pieces = max(1, min(threads, count // least))
        grain = -(-count // pieces)
    elif threads == 1:
        grain = count
    return [(begin, min(begin + grain, count)) for begin in range(0, count, grain)]


def by_reference(
    function: Callable[..., Any], inputs: Sequence[Tensor], grads: Tensor | Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """The gradients of a reference `function` to those `inputs` that ask for one, themselves differentiable."""
    explain("warp's kernels have no second derivatives")
    with torch.enable_grad():
        asking = [value for value in inputs if value.requires_grad]
        found = iter(torch.autograd.grad(function(*inputs), asking, grads, create_graph=True))
    return tuple(next(found) if value.requires_grad else None for value in inputs)


def _run(calls: Sequence[Callable[[], Any]]) -> None:
    """All calls, by this thread and helpers: whoever is done takes the next, so that none waits for one to wake."""
    left = iter(calls)

    def work() -> None:
        for call in left:
            call()

    helpers = min(torch.get_num_threads(), len(calls)) - 1
    helping = [_pool(helpers).submit(work) for _ in range(helpers)]
    work()
    for helper in helping:
        helper.result()


@functools.cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="kernels")


@functools.cache
def _start() -> str:
    """Start warp, silently; why that failed, or nothing."""
    try:
        import warp as wp

        wp.config.log_level = wp.LOG_ERROR  # no banner
        with _muted() if not torch.cuda.is_available() else nullcontext():
            wp.init()
    except (ImportError, OSError, RuntimeError) as error:
        return f"warp does not start ({error})"
    return ""


@contextmanager
def _muted() -> Iterator[None]:
    """Nothing written to the process's standard error: warp's library complains there that a CPU has no driver."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@functools.cache
def _drives_cuda() -> bool:
    import warp as wp

    return wp.is_cuda_available()


def _valid(choice: str) -> str:
    if choice not in CHOICES:
        raise ValueError(f"{VARIABLE} says {choice!r}; it may say {', '.join(CHOICES)}")
    return choice
