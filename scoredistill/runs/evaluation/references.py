"""Reference pictures of the distances FID and KID: a folder of them, or samples of the runs' own prior."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Prompt
from scoredistill.priors.load import describe_prior
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.samples import samples
from scoredistill.scenes.pixels import read_pixels

PRIOR = "prior"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
STEPS = 30  # evaluations of the prior for each sample
SCALES = {False: 4.0, True: 7.5}  # guidance of samples of the pixel priors and of models on Stable Diffusion's times

Features = Callable[[Float[Tensor, "B 3 H W"]], Float[Tensor, "B D"]]


def of_folder(folder: Path, features: Features) -> Float[Tensor, "M D"]:
    """The features of the pictures of a folder, transparent ones before white; ValueError for fewer than two."""
    return torch.cat([features(_opaque(path)[None]) for path in _pictures(folder)])


def of_prior(recipe: Recipe, count: int, features: Features) -> Float[Tensor, "M D"]:
    """The features of `count` samples of a run's prior for its prompt; of jointly denoised views, in whole groups."""
    prompt, needs = Prompt(recipe.prompt.text, recipe.prompt.negative), describe_prior(recipe.prior.name)
    whole = -(-count // needs.views) * needs.views
    return features(samples(recipe.prior, prompt, whole, scale=SCALES[needs.published], steps=STEPS, seed=0))


def _opaque(path: Path) -> Float[Tensor, "3 H W"]:
    rgb, alpha = read_pixels(path)
    return rgb * alpha + 1 - alpha


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"reference must be a folder of pictures, or {PRIOR}, got {str(folder)!r}")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(found) < 2:
        raise ValueError(
            f"{folder} holds {len(found)} pictures ({', '.join(SUFFIXES)}), and a distance needs two or more"
        )
    return found
