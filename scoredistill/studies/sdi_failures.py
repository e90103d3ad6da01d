"""SDI's failure cases, figures 20 to 23, as shares of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from scoredistill.export.images import grid
from scoredistill.export.sheet import Sheet
from scoredistill.studies.failures import FAILURES, failures
from scoredistill.studies.scene_study import SIDES, Exceeds, Rare, SceneStudy, Settings
from scoredistill.studies.terms import Terms

if TYPE_CHECKING:
    from scoredistill.studies.scene_conduct import Found

SDI, SDS, PURE, LOOSE = "sdi", "sds", "sdi, no entropy", "sdi, no loss on convexity"
OFTEN = 0.15  # least difference between shares worth seeing
OCCASIONAL = 0.25  # of the runs, at most


def arms(terms: Terms) -> Mapping[str, Settings]:
    """SDI, SDS, and SDI without each of the two remedies of appendix A.2 that every prior has."""
    convexity = dict.fromkeys(("scene.regularizers.convexity.start", "scene.regularizers.convexity.end"), 0.0)
    return {
        SDI: {"method": "sdi"},
        SDS: {"method": "sds"},
        PURE: {"method": "sdi", "method.entropy": 0.0},
        LOOSE: {"method": "sdi", **convexity},
    }


def examples(found: Found) -> dict[str, Sheet]:
    """A sheet for each failure that occurred: of each arm the first run that has it, front, side and back."""
    return {
        f"Runs that failed: {failure}": sheet for failure in FAILURES if (sheet := _first(found, failure)) is not None
    }


def _first(found: Found, failure: str) -> Sheet | None:
    rows, pictures = [], []
    for arm, values in found.values.items():
        places = (values[failure] == 1).nonzero() if failure in values else torch.zeros(0, 2)
        if len(places):
            caption, seed = places[0].tolist()
            rows.append(f"{arm}: {found.runs.captions[caption]}, {len(places)} runs")
            pictures.append(grid(found.views[arm][caption, seed][list(SIDES)], columns=len(SIDES), gap=2))
    return Sheet(torch.stack(pictures)[:, None], rows, [failure]) if rows else None


FAILURE_CASES = SceneStudy(
    name="sdi_failures",
    title="How often SDI fails: two fronts, hollow faces, billboards, drifting content",
    paper="sdi",
    figure="figures 20 to 23",
    claim="SDI's typical failures are occasional; it gets two fronts more often than SDS, against which entropy in the "
    "noise helps, as the loss on convexity does against hollow faces.",
    arms=arms,
    statements=(
        *(Rare(failure, SDI, OCCASIONAL) for failure in FAILURES),
        Exceeds("janus", SDI, SDS, OFTEN),
        Exceeds("janus", PURE, SDI, OFTEN),
        Exceeds("hollow", LOOSE, SDI, OFTEN),
    ),
    prior="toybox",
    metrics=("sound", *FAILURES, "front_behind", "hollowness", "thickness", "similarity"),
    further=failures,
    sheets=examples,
    remarks="On a prior of single views, as in the paper, since a prior of four views has next to no second fronts. "
    "janus: most views from behind are recognized rather as a front, in kinds that have one. hollow: of the space "
    "within its own silhouettes the shape leaves more empty than any true toy of the caption, by .05. flat: less than "
    "half as thick for its length as the flattest true toy. drift: a third of the views are recognized as another kind "
    "than most. diverged: not finite, empty or fog; such a run has no other failure. sound: none of these. The paper "
    "shows these cases without counting them; Perp-Neg, its third remedy, needs a published model.",
)
