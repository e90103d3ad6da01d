"""What presets say of published models, whatever the preset: how the view is told, what guidance leads away from, and
what a field stands before.

The official configurations of each method (METHODS 1.4, 1.5, 4, 7.2); Toybox has words of its own for views and none
for quality.
"""

from __future__ import annotations

from dataclasses import replace

from scoredistill.presets import Preset
from scoredistill.presets.tasks import JOINT
from scoredistill.priors.prompt import ViewWords
from scoredistill.scenes.environment import EnvironmentSettings

VIEW_TEXT = {"sdi": "perp-neg", "dsd": "perp-neg", "asd": "perp-neg", "ism": "interpolated"}
"""How a method tells the view where not in words."""

NARROW = ViewWords(front_deg=30.0, back_deg=30.0)
VIEW_WORDS: dict[str, ViewWords] = dict.fromkeys(("vsd", "asd", "csd"), NARROW)
"""From where on a view is the front's or the back's, where not threestudio's 45 degrees."""

NEGATIVE = {
    "nfsd": "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy",
    "csd": "oversaturated color, ugly, tiling, low quality, noisy",
    "ism": "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, "
    "oversaturation.",
    "mvdream": "ugly, bad anatomy, blurry, pixelated obscure, unnatural colors, poor lighting, dull, and unclear, "
    "cropped, lowres, low quality, artifacts, duplicate, morbid, mutilated, poorly drawn face, deformed, dehydrated, "
    "bad proportions",
}
"""The negative prompts that belong to a method."""


RANDOM_BACKGROUND: dict[str, float] = dict.fromkeys(("vsd", "asd", "dsd"), 0.5)
"""Share of the steps in which one random color stands in for the learned environment."""


def outdoors(preset: Preset, method: str) -> Preset:
    """The preset with a learned environment round the radiance field."""
    learned = EnvironmentSettings(random_share=RANDOM_BACKGROUND.get(method, 0.0))
    return replace(preset, nerf=replace(preset.nerf, environment=learned))


def view_text(method: str, prior: str) -> str:
    """How the view is told; a prior that is told its cameras hears words."""
    return "words" if prior in JOINT else VIEW_TEXT.get(method, "words")
