"""Divergence: results that are not finite, empty or fog.

V views   H W pixels; rgb, opacity in [0, 1]
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics.metric import Metric

DIVERGED = Metric(
    name="diverged",
    title="share of runs that are not finite, empty, or filled with fog up to the border",
    equation="not finite, or mean opacity < 0.02, or mean opacity of the border > 0.5",
    source="column Div. of table 1 of the SDI paper",
    low=0,
    high=1,
    higher_is_better=False,
    priors="all",
    validation="exact on constructed volumes (tests/test_metrics.py)",
)

EMPTY = 0.02  # mean opacity below which a result is empty: less than a ball a sixth of the image wide
FULL = 0.5  # mean opacity along the border above which a result is fog; an object leaves the border empty


def divergence(rgb: Float[Tensor, "V 3 H W"], opacity: Float[Tensor, "V 1 H W"] | None = None) -> str:
    """The reason why a run counts as diverged: "not finite", "empty" or "full" (fog up to the border); else ""."""
    if not bool(rgb.isfinite().all()) or (opacity is not None and not bool(opacity.isfinite().all())):
        return "not finite"
    if opacity is None:
        return ""
    if float(opacity.mean()) < EMPTY:
        return "empty"
    rows, columns = opacity[..., [0, -1], :], opacity[..., 1:-1, [0, -1]]
    border = torch.cat([rows.flatten(), columns.flatten()])
    return "full" if float(border.mean()) > FULL else ""
