"""What the networks of published metrics share: optional libraries, and pickled weights that are read safely."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scoredistill.files import check_regular

LARGEST = 2**33  # bytes of weights


def library(name: str, metric: str) -> Any:
    """A library of the extra; ValueError in one line with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f'{metric} needs more libraries: pip install "scoredistill[sd]" ({error})') from None


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pt or .pth file by name, by torch's weights-only reader, which runs no code of the file.

    ValueError in one line for a file that is damaged or holds anything else.
    """
    check_regular(path, LARGEST)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many types, depending on what is wrong with the file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} is damaged, cut off, or holds more than weights ({reason[:200]}): copy or download it again"
        ) from None
    if not isinstance(found, Mapping) or not all(isinstance(each, Tensor) for each in found.values()):
        raise ValueError(f"{path} holds no weights, which are tensors by name: copy or download it again")
    return {str(name): tensor for name, tensor in found.items()}


def fill(network: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load all weights of a network, and freeze it; more of them are ignored.

    ValueError in one line where some are missing, have another shape, or are not finite.
    """
    own = {name: each for name, each in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = [name for name, each in own.items() if name not in weights or weights[name].shape != each.shape]
    if wrong:
        raise ValueError(f"{source} is no file of this network: it lacks {len(wrong)} of its tensors, {wrong[0]} first")
    chosen = {name: weights[name] for name in own}
    for name, tensor in chosen.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{source} holds weights that are not finite, in {name}: copy or download it again")
    network.load_state_dict(chosen, strict=False)  # without the counts of training steps, which nothing reads
    network.eval().requires_grad_(False)
