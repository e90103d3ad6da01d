"""The embedded priors: small diffusion models of the Toybox world (docs/toybox.md)."""

from __future__ import annotations

from pathlib import Path

import torch

from scoredistill.priors.toybox.pose import ToyboxPosePrior
from scoredistill.priors.toybox.prior import SCHEDULE, SIZE, WEIGHTS, ToyboxPrior, network_of, save
from scoredistill.priors.toybox.views import ToyboxViewsPrior

__all__ = [
    "EMBEDDED",
    "SCHEDULE",
    "SIZE",
    "WEIGHTS",
    "ToyboxPosePrior",
    "ToyboxPrior",
    "ToyboxViewsPrior",
    "load",
    "prior_class",
    "save",
]

EMBEDDED: dict[str, type[ToyboxPrior]] = {
    "toybox": ToyboxPrior,
    "toybox-mv": ToyboxViewsPrior,
    "toybox-pose": ToyboxPosePrior,
}
"""The embedded priors by name."""


def prior_class(path: Path) -> type[ToyboxPrior] | None:
    """The class of the prior whose weights are in a file, from its header; None for weights of another kind.

    ValueError for a file that cannot be read.
    """
    name = network_of(path)
    kinds = {kind.network.__name__: kind for kind in EMBEDDED.values()}
    if name is not None and name not in kinds:
        raise ValueError(f"{path} holds a Toybox network {name!r}; known are: {', '.join(kinds)}")
    return kinds.get(name or "")


def load(path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> ToyboxPrior:
    """The prior of any task whose weights are in a file; ValueError as `ToyboxPrior.load`."""
    return (prior_class(path) or ToyboxPrior).load(path, device, dtype)
