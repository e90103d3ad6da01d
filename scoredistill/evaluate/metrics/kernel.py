"""KID: the kernel distance of two sets of images in the features of a network.

N, M images   D width of features
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics.frechet import Distance
from scoredistill.evaluate.metrics.metric import Metric

KERNEL = Metric(
    name="kernel",
    title="unbiased squared maximum mean discrepancy between the judge's features of two sets",
    equation="mean k(x, x') + mean k(y, y') - 2 mean k(x, y), k(a, b) = (a.b / D + 1)^3",
    source="KID of Binkowski et al. 2018, section 4",
    low=-math.inf,
    high=math.inf,
    higher_is_better=False,
    priors="toybox",
    validation="equals the double sum, unbiased for few images (tests/test_metrics.py)",
)


def kernel_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Distance:
    """KID: the unbiased squared MMD under k(a, b) = (a.b / D + 1)^3 (Binkowski et al. 2018, section 4).

    Unbiased at any count, so it may be slightly negative. The kernel assumes features of mean square one: unit features
    times sqrt(D).
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    if n < 2 or m < 2:
        raise ValueError(f"the kernel distance needs at least 2 images in each set, got {n} and {m}")
    xx, yy, xy = _cubic(x, x), _cubic(y, y), _cubic(x, y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return Distance(float(within - 2 * xy.mean()), n, m)


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3
