"""The presets by name."""

from __future__ import annotations

from collections.abc import Callable

from scoredistill.recipes.fast import fast
from scoredistill.recipes.paper import low_vram, paper
from scoredistill.recipes.recipe import Recipe
from scoredistill.recipes.study import study

PRESETS: dict[str, Callable[..., Recipe]] = {"fast": fast, "study": study, "paper": paper, "low-vram": low_vram}
"""Each is called with the prompt and, by name, method, scene, prior, picture, device and seed; see `fast`."""
