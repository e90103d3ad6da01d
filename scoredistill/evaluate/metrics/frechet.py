"""FID: the Frechet distance of two sets of images in the features of a network.

N, M images   D width of features
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics.metric import Metric

FRECHET = Metric(
    name="frechet",
    title="Frechet distance between Gaussians fitted to the judge's features of two sets",
    equation="|mx - my|^2 + tr(Cx + Cy - 2 (Cx^1/2 Cy Cx^1/2)^1/2)",
    source="FID of Heusel et al. 2017; biased upwards for few images",
    low=0,
    high=math.inf,
    higher_is_better=False,
    priors="toybox",
    validation="equals the closed form of Gaussians (tests/test_metrics.py)",
)


@dataclass(frozen=True)
class Distance:
    """A distance between two sets of images, with the counts, without which its value is not interpretable."""

    value: float
    count: int
    other: int

    def __str__(self) -> str:
        return f"{self.value:.4g} (n = {self.count}, {self.other})"


def frechet_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Distance:
    """FID: the Frechet distance of Gaussians fitted to both sets (Heusel et al. 2017); biased upwards at small N.

    ValueError for fewer than two images in a set, which have no covariance.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"the Frechet distance needs two images or more in each set, got {len(x)} and {len(y)}")
    x, y = x.double(), y.double()
    if len(x) + len(y) > x.shape[1]:
        value = frechet_gaussians(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    else:
        value = _of_few(x, y)
    return Distance(value, len(x), len(y))


def _of_few(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> float:
    """The same for fewer images than features, without matrices of the features.

    The square root's trace is the sum of the singular values of Cx^1/2 Cy^1/2, which are those of X Y^T / sqrt((N - 1)
    (M - 1)) for centered X and Y.
    """
    centered, other = x - x.mean(0), y - y.mean(0)
    n, m = len(x) - 1, len(y) - 1
    cross = torch.linalg.svdvals(centered @ other.T).sum() / math.sqrt(n * m)
    traces = centered.square().sum() / n + other.square().sum() / m
    return float((x.mean(0) - y.mean(0)).square().sum() + traces - 2 * cross)


def frechet_gaussians(
    mean_x: Float[Tensor, "D"],
    cov_x: Float[Tensor, "D D"],
    mean_y: Float[Tensor, "D"],
    cov_y: Float[Tensor, "D D"],
) -> float:
    """|mx - my|^2 + tr(Cx + Cy - 2 (Cx^1/2 Cy Cx^1/2)^1/2) (Dowson and Landau 1982)."""
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float(((mean_x - mean_y) ** 2).sum() + cov_x.trace() + cov_y.trace() - 2 * cross)
