"""The presets by name."""

from __future__ import annotations

from scoredistill.recipes.fast import fast
from scoredistill.recipes.paper import low_vram, paper
from scoredistill.recipes.preset import Preset
from scoredistill.recipes.study import study

PRESETS: dict[str, Preset] = {"fast": fast, "study": study, "paper": paper, "low-vram": low_vram}
