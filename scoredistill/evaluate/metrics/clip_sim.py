"""CLIP-SIM: mean cosine of views and prompt, by a published CLIP.

V views   D width of CLIP's features
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics.metric import Metric

CLIP_SIM = Metric(
    name="clip-sim",
    title="mean cosine similarity between CLIP's features of the views and of the prompt",
    equation="mean cos(image, prompt)",
    source="Radford et al. 2021, as in the DSD paper; its counterpart on Toybox is similarity",
    low=-1,
    high=1,
    higher_is_better=True,
    priors="all",
    validation="equals transformers' CLIP on random weights; not validated on degraded renders (no weights available)",
)


def clip_sim(images: Float[Tensor, "V D"], prompt: Float[Tensor, "1 D"]) -> float:
    """The mean cosine of unit features."""
    return float((images @ prompt.T).mean())
