"""What the part meter sees in the views of a run: the face and the other parts of the prompt's kind."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import numpy as np
from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics.metric import Metric
from scoredistill.evaluate.part_meter import SEEN, THRESHOLD, PartMeter
from scoredistill.toybox import Description, build

FACE = SEEN.index("face")
_SEEN_AS = {"eyes": "face", "beak": "nose", "nose": "nose", "hat": "hat", "buttons": "buttons"}  # by names of parts
_share = partial(
    Metric,
    source="a network trained on renders with and without each part (evaluate/part_meter.py)",
    low=0,
    high=1,
    priors="toybox",
    validation="errors by part and kind, degraded renders and renders without the part: weights/toybox-parts.md",
)

FACE_RIGHT = _share(
    name="face_right",
    title="share of front views in which both eyes are visible, for kinds with eyes",
    equation="mean over front views (p(face | image) > .25)",
    higher_is_better=True,
)
FACE_BEHIND = _share(
    name="face_behind",
    title="share of back views in which both eyes are visible, for kinds with eyes",
    equation="mean over back views (p(face | image) > .25)",
    higher_is_better=False,
)
PARTS_RIGHT = _share(
    name="parts_right",
    title="share of the kind's parts (face, nose or beak, hat, buttons) that are visible in front views",
    equation="mean over front views and parts (p(part | image) > .25)",
    higher_is_better=True,
)


def part_shares(meter: PartMeter, rgb: Float[Tensor, "V 3 H W"], kind: str, words: Sequence[str]) -> dict[str, float]:
    """The metrics above for views with these view words; those for which there is no view or no part are left out."""
    asked = [SEEN.index(part) for part in parts_of(kind)]
    if not asked:
        return {}
    seen = meter.probabilities(rgb) > THRESHOLD
    front, behind = (seen[[word == view for word in words]].float() for view in ("front view", "back view"))
    shares = {FACE_RIGHT: front[:, FACE], FACE_BEHIND: behind[:, FACE], PARTS_RIGHT: front[:, asked]}
    return {metric.name: float(share.mean()) for metric, share in shares.items() if len(share)}


@cache
def parts_of(kind: str) -> tuple[str, ...]:
    """The parts of SEEN that a toy of this kind shows from the front; "eyes" are part of "face"."""
    toy = build(Description(kind, "red"), np.random.default_rng(0))
    names = {_SEEN_AS.get(part.name) for part in toy.parts}
    return tuple(part for part in SEEN if part in names)
