"""Choice of the implementation of a kernel: the torch reference, or its fast twin compiled by warp for CPU and CUDA.

The environment variable SCOREDISTILL_KERNELS, or the context manager `using`, selects torch, warp or auto (warp
wherever it is available).
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from scoredistill.kernels import team

CHOICES = ("auto", "torch", "warp")
VARIABLE = "SCOREDISTILL_KERNELS"
MIN_SLICE = 2048
"""Smallest number of kernel indices for which a further CPU thread pays: starting one costs about 50 us."""

_choices: list[str] = []
"""Choices of the active `using` contexts, innermost last."""


@contextmanager
def using(choice: str) -> Iterator[None]:
    """Within the context, use `choice` (torch, warp or auto) for all kernels; ValueError for any other name."""
    _choices.append(_valid(choice))
    try:
        yield
    finally:
        _choices.pop()


def choice() -> str:
    """torch, warp or auto: from the innermost `using`, else the environment variable, else auto."""
    return _choices[-1] if _choices else _valid(os.environ.get(VARIABLE, "auto"))


def use_warp(*tensors: Tensor) -> bool:
    """Whether a kernel runs in warp for these tensors.

    Warp needs float32 for all floating-point tensors and a device that it supports. With `auto`, a fallback to torch
    is logged, once for each reason. ValueError if `warp` is chosen explicitly and is not available.
    """
    if choice() == "torch":
        return False
    device = tensors[0].device
    reason = unavailable(device)
    if reason and choice() == "warp":
        raise ValueError(f"{VARIABLE} selects warp kernels, but {reason}; set {VARIABLE}=auto to use torch instead")
    other = {str(tensor.dtype) for tensor in tensors if tensor.is_floating_point()} - {"torch.float32"}
    if other and not reason:
        reason = f"warp's kernels are for float32, not {', '.join(sorted(other))}"
    if reason:
        warn_once(reason)
    return not reason


def unavailable(device: torch.device) -> str:
    """The reason why warp cannot run on this device; empty if it can."""
    if device.type not in ("cpu", "cuda"):
        return f"warp has no kernels for {device.type}"
    reason = _start()
    if not reason and device.type == "cuda" and not _supports_cuda():
        reason = "warp finds no CUDA driver"
    return reason


@functools.cache
def warn_once(reason: str) -> None:
    """Log, once for each reason, that the torch reference is used."""
    logging.getLogger(__name__).warning("the torch reference of a kernel is used, which is slower: %s", reason)


def launch(
    kernel: Any,
    count: int,
    arguments: Sequence[Any],
    device: torch.device,
    *,
    grain: int | None = None,
    min_slice: int = MIN_SLICE,
) -> None:
    """Run warp's `kernel` for the indices 0 .. count - 1; its first argument is the first index of a slice.

    Warp runs a launch on a CPU in one thread, so the indices are divided into one slice for each of torch's threads,
    of at least `min_slice` indices. With a `grain`, slices have this length: for kernels in which two slices must not
    write to the same level or copy. A launch releases the GIL.
    """
    import warp as wp

    if not count:
        return
    kinds = [argument.type for argument in kernel.adj.args[1:]]
    values = [  # converted once for all slices: converting a tensor takes longer than starting a launch
        wp.from_torch(value.detach(), kind.dtype, return_ctype=True) if isinstance(value, Tensor) else value
        for value, kind in zip(arguments, kinds, strict=True)
    ]
    if device.type == "cuda":
        with torch.cuda.device(device):
            stream = wp.stream_from_torch(torch.cuda.current_stream(device))
            wp.launch(kernel, count, [0, *values], stream=stream)
        return
    function, bounds, packed = _entry(kernel, values)
    parts = slices(count, torch.get_num_threads(), grain, min_slice)
    team.run(function, [(bounds((end - begin,)), packed(begin, *values)) for begin, end in parts])


_entries: dict[Any, tuple[Any, type[ctypes.Structure], type[ctypes.Structure]]] = {}
"""By kernel: the compiled function, and the types of its two arguments: the number of indices, and all others."""


def _entry(kernel: Any, values: Sequence[Any]) -> tuple[Any, type[ctypes.Structure], type[ctypes.Structure]]:
    """What warp finds out about a kernel at each launch, remembered: that takes longer than a small kernel."""
    if kernel not in _entries:
        import warp as wp

        command: Any = wp.launch(kernel, 1, [0, *values], device="cpu", record_cmd=True)
        bounds, *arguments = map(type, command.params)
        fields = [(f"argument{index}", kind) for index, kind in enumerate(arguments)]
        packed = type("Arguments", (ctypes.Structure,), {"_fields_": fields, "command": command})
        _entries[kernel] = command.hooks.forward, bounds, packed
    return _entries[kernel]


def slices(count: int, threads: int, grain: int | None = None, min_slice: int = MIN_SLICE) -> list[tuple[int, int]]:
    """[begin, end) of each slice: up to `threads` equal ones of at least `min_slice` indices, or of `grain` each."""
    if grain is None:
        pieces = max(1, min(threads, count // min_slice))
        grain = -(-count // pieces)
    elif threads == 1:
        grain = count
    return [(begin, min(begin + grain, count)) for begin in range(0, count, grain)]


def reference_gradients(
    function: Callable[..., Any], inputs: Sequence[Tensor], grads: Tensor | Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Differentiable gradients of a reference `function` with respect to the inputs that require one, else None."""
    warn_once("warp's kernels have no second derivatives")
    with torch.enable_grad():
        required = [value for value in inputs if value.requires_grad]
        found = iter(torch.autograd.grad(function(*inputs), required, grads, create_graph=True))
    return tuple(next(found) if value.requires_grad else None for value in inputs)


@functools.cache
def _start() -> str:
    """Start warp without output; return the reason if that fails, else an empty string."""
    try:
        import warp as wp

        wp.config.log_level = wp.LOG_ERROR  # no banner
        with _without_stderr() if not torch.cuda.is_available() else nullcontext():
            wp.init()
    except (ImportError, OSError, RuntimeError) as error:
        return f"warp does not start ({error})"
    return ""


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard the process's standard error: without a CUDA driver, warp's library prints a warning there."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


@functools.cache
def _supports_cuda() -> bool:
    import warp as wp

    return wp.is_cuda_available()


def _valid(choice: str) -> str:
    if choice not in CHOICES:
        raise ValueError(f"{VARIABLE} is {choice!r}; it must be one of {', '.join(CHOICES)}")
    return choice
