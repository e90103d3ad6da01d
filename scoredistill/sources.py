"""Where the name of a prior leads: a class, or the class of what a folder or a hub's repository holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scoredistill.contracts import Prior
from scoredistill.priors import mvdream_unet, toybox_tasks
from scoredistill.priors.hub import ALIASES, find, published
from scoredistill.priors.mvdream import MVDreamPrior
from scoredistill.priors.prompt import Told, ViewWords
from scoredistill.priors.stable import StablePrior
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.priors.toybox_tasks import ToyboxPosePrior, ToyboxViewsPrior
from scoredistill.priors.zero123 import Zero123Prior, projection_part
from scoredistill.settings import named

WEIGHT_FILE = ".safetensors"
PRIORS: dict[str, Callable[..., Prior]] = {
    "toybox": ToyboxPrior.load,
    "toybox-mv": ToyboxViewsPrior.load,
    "toybox-pose": ToyboxPosePrior.load,
}
"""The embedded priors."""


def is_path(prior: str) -> bool:
    """Whether a prior's name is that of a file or folder."""
    return prior.endswith(WEIGHT_FILE) or (prior not in (*PRIORS, *ALIASES) and Path(prior).is_dir())


def is_published(prior: str) -> bool:
    """Whether a prior is a published model: an alias, a folder, or org/name[@revision]."""
    return prior not in PRIORS and not prior.endswith(WEIGHT_FILE) and published(prior)


def full_name(prior: str) -> str:
    """The name as a run keeps it: files and folders from the root."""
    return str(Path(prior).absolute()) if is_path(prior) else prior


def check_name(prior: str) -> None:
    """ValueError with the nearest known names for a name that leads nowhere."""
    if not prior.endswith(WEIGHT_FILE) and not is_published(prior):
        named("prior", prior, dict.fromkeys([*PRIORS, *ALIASES]))


def open_prior(prior: str, device: str, told: Told = "words", words: ViewWords | None = None) -> Prior:
    """The prior by its name, Toybox weights by their path, or a published model, which may be fetched for it.

    `told` and `words` are how a published text-to-image model is told the view. ValueError where it cannot be had.
    """
    if prior.endswith(WEIGHT_FILE):
        return toybox_tasks.load(Path(prior), device)
    if not is_published(prior):
        return named("prior", prior, PRIORS)(device=device)
    checkpoint = find(prior)
    if checkpoint.has("unet") and checkpoint.kind("unet") == mvdream_unet.KIND:
        return MVDreamPrior.load(prior, device, told=told, words=words)
    if projection_part(checkpoint):
        return Zero123Prior.load(prior, device)
    return StablePrior.load(prior, device, told=told, words=words)
