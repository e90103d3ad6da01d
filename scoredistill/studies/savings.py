"""What shorter runs of SDI lose: settings of the presets, measured before they enter."""

from __future__ import annotations

from collections.abc import Mapping

from scoredistill.studies.scene_study import NoWorse, SceneStudy, Settings
from scoredistill.studies.terms import Terms

FULL, MARGIN = "300 steps, n = 5", 0.008  # 1 % of the similarity of a good toy
FASTER = {"scene.lr_grid": 2.2e-2, "scene.lr_mlp": 1.2e-2}  # 1.5 times the rates of `fast`


def shorter(terms: Terms) -> Mapping[str, Settings]:
    """Fewer steps of the scene, fewer steps of each inversion, and larger rates in their place."""
    return {
        FULL: {"steps": 300, "method.steps_per_unit": 5.0},
        "150 steps, n = 5": {"steps": 150, "method.steps_per_unit": 5.0},
        "150 steps, n = 3": {"steps": 150, "method.steps_per_unit": 3.0},
        "150 steps, n = 3, rates x 1.5": {"steps": 150, "method.steps_per_unit": 3.0, **FASTER},
    }


SAVINGS = SceneStudy(
    name="sdi_savings",
    title="What fewer steps cost SDI in 3D",
    paper="sdi",
    figure="no figure: the presets' own settings",
    claim="Half the steps of the scene and fewer of each inversion lose less than 1 % of similarity.",
    arms=shorter,
    statements=tuple(NoWorse("similarity", arm, FULL, MARGIN) for arm in list(shorter(Terms(False)))[1:]),
    seeds=2,
)
