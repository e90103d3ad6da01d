"""What cheaper runs lose: settings of the presets, measured before they enter."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from scoredistill.studies.scene_study import NoWorse, SceneStudy, Settings
from scoredistill.studies.terms import Terms

NAMES = ("sdi", "sds")
SIMILAR, OVER = 0.008, 0.02  # 1 % of the similarity of a good toy; of its overlap with the true shape
FULL, SHARED = (300, 1), (100, 3)  # evaluations of the method, updates of the scene by each


def arm(name: str, size: tuple[int, int]) -> str:
    """The name of an arm."""
    return f"{name}, {size[0]} x {size[1]}"


def arms(terms: Terms) -> Mapping[str, Settings]:
    """Each method in full and with shared gradients."""
    return {
        arm(name, (steps, updates)): {"method": name, "steps": steps, "training.updates": updates}
        for name, (steps, updates) in product(NAMES, (FULL, SHARED))
    }


SAVINGS = SceneStudy(
    name="savings",
    title="Several updates of the scene per gradient",
    paper="sdi",
    figure="no figure: the presets' own settings",
    claim="A third of the evaluations, with three scene updates per gradient, loses less than 1 % of similarity and "
    "less than .02 of overlap with the true shape.",
    arms=arms,
    statements=tuple(
        NoWorse(metric, arm(name, SHARED), arm(name, FULL), margin)
        for name in NAMES
        for metric, margin in (("similarity", SIMILAR), ("overlap", OVER))
    ),
    seeds=2,
    remarks="An arm is named after its method, its evaluations, and the updates of the scene by each.",
)
