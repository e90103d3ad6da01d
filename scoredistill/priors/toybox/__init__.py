"""The embedded priors: small diffusion models of the Toybox world (docs/toybox.md)."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError

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


def prior_class(path: Path) -> type[ToyboxPrior]:
    """The class of the prior whose weights are in a file, from its header; ValueError if it has no Toybox weights."""
    if not path.is_file():
        raise ValueError(f"no Toybox weights at {path}; train them with: python {ToyboxPrior.tool}")
    kinds = {kind.network.__name__: kind for kind in EMBEDDED.values()}
    try:
        return kinds[network_of(path)]
    except (SafetensorError, KeyError):
        raise ValueError(f"{path} has no Toybox weights") from None


def load(path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> ToyboxPrior:
    """The prior of any task whose weights are in a file; ValueError as `ToyboxPrior.load`."""
    return prior_class(path).load(path, device, dtype)
