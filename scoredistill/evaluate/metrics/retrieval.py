"""R-precision: how often an image is nearest to its own caption.

N images   M captions
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.evaluate.metrics.metric import Metric

RETRIEVAL = Metric(
    name="retrieval",
    title="share of views whose nearest plain caption is their own",
    equation="mean(argmax_m cos(image, caption_m) = own)",
    source="R-precision of Poole et al. 2023, section 4, with the judge instead of CLIP",
    low=0,
    high=1,
    higher_is_better=True,
    priors="toybox",
    validation="falls between one and three quarters of a wrong kind and with every quarter of a wrong color except "
    "the last, like a threshold; not sensitive to blur",
)


def retrieval_precision(similarities: Float[Tensor, "N M"], own: Int[Tensor, "N"]) -> float:
    """R-precision: the fraction of images whose nearest of M captions is their own (Poole et al. 2023, section 4).

    `own` is the column of each image's caption; a tie of k captions counts 1/k, so that chance level is 1/M.
    """
    best = similarities == similarities.max(-1, keepdim=True).values
    hit = best.gather(1, own[:, None])[:, 0]
    return float((hit / best.sum(-1)).mean())
