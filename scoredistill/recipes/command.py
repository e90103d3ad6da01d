"""The shortest command line that makes a recipe again."""

from __future__ import annotations

import shlex
from operator import attrgetter
from pathlib import Path
from typing import Any

from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.presets import PRESETS, SHORT
from scoredistill.recipes.recipe import Recipe, different

IGNORED = ("prompt.text", "prior.device")
OF_TRAINING = {path: name for name, path in SHORT.items() if path.startswith("training.")}


def command_line(*words: str | Path) -> str:
    """`scoredistill` with these words, quoted as a shell wants them: every command that a message proposes."""
    return shlex.join(["scoredistill", *map(str, words)])


def command(recipe: Recipe) -> str:
    """`scoredistill generate` with the flags in which the recipe differs from the nearest preset."""
    names = {"method": name_of(recipe.method), "scene": name_of(recipe.scene), "prior": recipe.prior.name}
    choices = {**names, "picture": recipe.prompt.picture.file, "device": recipe.prior.device}
    candidates = []
    for preset, make in PRESETS.items():
        try:
            base = make(recipe.prompt.text, **choices, seed=recipe.training.seed)
        except ValueError:  # a prior or device that this machine does not have
            return command_line("generate", "--config", "config.yaml", "--out", "ANOTHER_FOLDER")
        candidates.append((preset, [path for path in different(recipe, base) if path not in IGNORED]))
    preset, paths = min(candidates, key=lambda candidate: len(candidate[1]))
    words = [word for name, value in names.items() for word in (f"--{name}", value)]
    words += ["--preset", preset, "--seed", str(recipe.training.seed)]
    if recipe.prompt.picture.file:
        words += ["--image", recipe.prompt.picture.file]
    for path in paths:
        words += _flag(path, attrgetter(path)(recipe))
    prompt = recipe.prompt.text
    around = ([], ["--", prompt]) if prompt.startswith("-") else ([prompt], [])
    return command_line("generate", *around[0], *words, *around[1])


def _flag(path: str, value: Any) -> list[str]:
    name = OF_TRAINING.get(path, path).replace("_", "-")
    if isinstance(value, bool):
        group, _, last = name.rpartition(".")
        return [f"--{name}" if value else f"--{group}.no-{last}"]
    if str(value).startswith("-"):
        return [f"--{name}={value}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{name}", *map(str, values)]
