"""CLIP score: how well views agree with the prompt, by a published CLIP.

V views   D width of CLIP's features
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics.metric import Metric

CLIP_SCORE = Metric(
    name="clip-score",
    title="similarity of views and prompt according to CLIP (ViT-B/32)",
    equation="max(100 mean cos(image, prompt), 0)",
    source="Hessel et al. 2021, as in torchmetrics and the SDI paper",
    low=0,
    high=100,
    higher_is_better=True,
    priors="all",
    validation="equals transformers' CLIP on random weights; not validated on degraded renders (no weights available)",
)


def clip_score(images: Float[Tensor, "V D"], prompt: Float[Tensor, "1 D"]) -> float:
    """max(100 mean cos, 0) of unit features."""
    return max(100 * float((images @ prompt.T).mean()), 0.0)
