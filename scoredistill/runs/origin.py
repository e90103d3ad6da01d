"""What the state of a run depends on, written into every checkpoint, so that nothing changes under it unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from scoredistill import own
from scoredistill.config import dotted, to_plain
from scoredistill.files import digest
from scoredistill.kernels import backend
from scoredistill.priors.load import prior_files
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.recipe import Recipe
from scoredistill.recipes.text import ADDED

RESUMABLE = ("training.steps", "training.save_every", "prior.device", "prior.dtype", "prior.compile", "output.")
"""Settings that `resume` may change: none of them is a change of what is distilled into what, and how."""

SEED = ("training.seed", "training.asset_seed")
WITHOUT_EFFECT = ("training.save_every", "prior.device", "output.")
"""Settings without effect on the scene."""

Origin = dict[str, dict[str, Any]]
"""`settings` (dotted names), `files` (SHA-256 by what they are), `machine`"""


def origin(recipe: Recipe) -> Origin:
    """The settings of a run, the digests of all files that it reads, and how its sums are ordered."""
    return {"settings": settings(recipe), "files": _files(recipe), "machine": _machine(recipe)}


def settings(recipe: Recipe) -> dict[str, Any]:
    """All settings of a recipe by dotted name; the picture, of which the folder has a copy, by its content only."""
    tree = {name: to_plain(getattr(recipe, name)) for name in to_plain(recipe)}
    for name in ("scene", "method"):
        tree[name] = {"name": name_of(getattr(recipe, name))} | tree[name]
    flat = dotted(tree)
    flat["prompt.picture.file"] = bool(flat["prompt.picture.file"])
    return flat


def changed_settings(saved: Origin, recipe: Recipe, *, all_of_them: bool) -> list[str]:
    """What to say of each setting that differs from a checkpoint's; without `all_of_them`, of those that must not."""
    now = settings(recipe)
    before = {name: value for name, value in ADDED.items() if name in now} | saved["settings"]
    names = [name for name in before | now if before.get(name) != now.get(name)]
    if not all_of_them:
        names = [name for name in names if not name.startswith(RESUMABLE)]
    return [f"{name} was {before.get(name, 'not there')} and is {now.get(name, 'not there')}" for name in names]


def changed_inputs(saved: Origin, now: Origin) -> list[str]:
    """What to say of each file, and of the kernels, that differ from a checkpoint's."""
    before, after = saved["files"], now["files"]
    found = [f"{what} has changed" for what in before | after if before.get(what) != after.get(what)]
    kernels = [each["machine"]["kernels"] for each in (saved, now)]
    if kernels[0] != kernels[1]:
        found.append(f"the kernels were {kernels[0]}'s and are {kernels[1]}'s, which agree in all but the last bits")
    return found


def _files(recipe: Recipe) -> dict[str, str]:
    """SHA-256 of everything that the run reads, by what it is."""
    found = {f"the prior's {path.name}": path for path in prior_files(recipe.prior.name, recipe.prior.lora)}
    if recipe.prompt.picture.file:
        found["the picture"] = Path(recipe.prompt.picture.file)
    if mesh := getattr(recipe.scene, "start_mesh", None):
        found["the start mesh"] = mesh
    for node in (recipe.scene, recipe.method):
        if own.is_own(name_of(node)):
            found |= {f"the code in {path.name}": path for path in own.code_files(name_of(node))}
    return {what: digest(path) if path.exists() else "missing" for what, path in found.items()}


def _machine(recipe: Recipe) -> dict[str, Any]:
    device = torch.device(recipe.prior.device)
    warp = backend.choice() != "torch" and not backend.unavailable(device)
    return {
        "threads": torch.get_num_threads(),
        "kernels": "warp" if warp else "torch",
        "device": device.type,
        "torch": torch.__version__,
    }
