"""torch.compile for the network of a prior, with a fallback for machines without a compiler."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def compile_network(net: nn.Module) -> None:
    """Compile `net` at its first evaluation; if that fails it runs uncompiled, which is logged once.

    Copies of it, such as that of a learner, are not compiled: their hooks would be lost.
    """
    net.compile(backend=_compiled_or_plain)


def _compiled_or_plain(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """A backend of torch.compile that falls back to the uncompiled graph."""
    try:
        return torch._dynamo.lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # of many kinds: no compiler, one too old, no Triton, an unknown GPU
        _explain((str(error).strip().splitlines() or [type(error).__name__])[0])
        return graph.forward


@functools.cache
def _explain(reason: str) -> None:
    logging.getLogger(__name__).warning("torch.compile failed, the network runs uncompiled and slower: %s", reason)
