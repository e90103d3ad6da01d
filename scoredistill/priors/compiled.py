"""torch.compile for a prior's network, on machines that can; it takes a compiler, which users need not have."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def compile_network(net: nn.Module) -> None:
    """Compile `net` at its first evaluation; where that fails it runs uncompiled, which is logged once.

    Copies of it, such as a learner's, are not compiled: their hooks would be lost.
    """
    net.compile(backend=_compiled_or_plain)


def _compiled_or_plain(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """A backend of torch.compile that cannot fail."""
    try:
        return torch._dynamo.lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # of many kinds: no compiler, one too old, no Triton, an unknown GPU
        _explain(str(error).strip().splitlines()[0])
        return graph.forward


@functools.cache
def _explain(reason: str) -> None:
    logging.getLogger(__name__).warning("nothing is compiled, which is slower: %s", reason)
