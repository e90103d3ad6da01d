"""The presets by name, and recipes of them with settings replaced."""

from __future__ import annotations

from typing import Any

from scoredistill.config import named, nearest
from scoredistill.recipes.fast import fast
from scoredistill.recipes.paper import low_vram, paper
from scoredistill.recipes.preset import Preset
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.recipes.study import study

PRESETS: dict[str, Preset] = {"fast": fast, "study": study, "paper": paper, "low-vram": low_vram}

CHOICES = ("method", "scene", "prior", "picture", "device", "seed")
"""What a preset is made for."""

SHORT = {
    "steps": "training.steps",
    "batch": "training.batch",
    "resolution": "training.resolution",
    "scale": "method.scale",
    "negative": "prompt.negative",
    "log": "output.log",
}
"""Short names of settings, in Python and on the command line, and the fields that they set."""


def recipe_of(prompt: str, preset: str, settings: dict[str, Any]) -> Recipe:
    """The preset's recipe with settings replaced; ValueError names a setting that does not exist."""
    choices = {name: settings[name] for name in CHOICES if name in settings}
    recipe = named("preset", preset, PRESETS)(prompt, **choices)
    for name, value in settings.items():
        if name in CHOICES:
            continue
        path = SHORT.get(name) or name.replace("__", ".")
        if "." not in path:
            raise ValueError(f"unknown setting {name!r}; {nearest(name, [*CHOICES, *SHORT])}")
        recipe = changed(recipe, path, value)
    return recipe
