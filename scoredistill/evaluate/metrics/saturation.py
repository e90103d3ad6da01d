"""Saturation: how far the channels of a pixel are apart."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics.metric import Metric

SATURATION = Metric(
    name="saturation",
    title="difference between the largest and the smallest color channel, mean over pixels",
    equation="mean(max_c rgb - min_c rgb)",
    source="chroma of the hexagonal color model (Smith 1978)",
    low=0,
    high=1,
    higher_is_better=None,
    priors="all",
    validation="grows with saturation; blur lowers it, noise raises it; compare the same prompts only",
)


def saturation(rgb: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V"]:
    """The mean over pixels of the largest minus the least channel, in [0, 1]."""
    return (rgb.amax(1) - rgb.amin(1)).mean((1, 2))
