"""Diversity: how far the images of several seeds are apart.

N images   D width of features
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scoredistill.evaluate.metrics.metric import Metric

DIVERSITY = Metric(
    name="diversity",
    title="mean distance between the features of several seeds of one prompt",
    equation="1 - mean over pairs of cos(a, b)",
    source="the DSD paper, with the judge instead of LPIPS",
    low=0,
    high=2,
    higher_is_better=None,
    priors="toybox",
    validation="exact on constructed features (tests/test_metrics.py); noise and wrong kinds raise it",
)


def diversity(features: Float[Tensor, "N D"]) -> float:
    """Mean of 1 - cosine over all pairs, in [0, 2]; 0 for a single image."""
    n = len(features)
    if n < 2:
        return 0.0
    unit = functional.normalize(features, dim=-1)
    cosines = unit @ unit.T
    return float(1 - (cosines.sum() - cosines.trace()) / (n * (n - 1)))
