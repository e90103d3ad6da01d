"""CLIP-IQA: quality, sharpness and realism of views by pairs of opposite texts, by a published CLIP.

V views   D width of CLIP's features
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics.metric import Metric

PAIRS = {
    "quality": ("Good photo.", "Bad photo."),
    "sharpness": ("Sharp photo.", "Blurry photo."),
    "real": ("Real photo.", "Abstract photo."),
}
"""The pairs of the SDI paper, as torchmetrics names and writes them."""

CLIP_IQA = Metric(
    name="clip-iqa",
    title="quality, sharpness and realism from pairs of opposite texts: clip-iqa-quality, -sharpness, -real",
    equation="mean softmax(100 cos(image, (text, opposite)))[0]",
    source="Wang et al. 2023, section 3; the pairs of table 1 of the SDI paper",
    low=0,
    high=1,
    higher_is_better=True,
    priors="all",
    validation="equals transformers' CLIP on random weights; not validated on degraded renders (no weights available)",
)


def clip_iqa(images: Float[Tensor, "V D"], pair: Float[Tensor, "2 D"]) -> float:
    """The mean probability of the first text of a pair, of unit features."""
    return float((100 * images @ pair.T).softmax(-1)[:, 0].mean())
