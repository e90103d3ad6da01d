"""The columns of the tables that compare methods: how true, how diverse, how sharp, at what cost.

N = C S images of C captions and S seeds   M true renders   D width of the judge's features
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.metrics import Distance
from scoredistill.evaluate.report import set_distances
from scoredistill.studies.cache import Made
from scoredistill.studies.estimates import over_seeds
from scoredistill.studies.images import judged
from scoredistill.studies.study import Bench, Row

EACH_IMAGE = ("similarity", "kind right", "color right", "diversity", "sharpness")
"""Measured image by image, and averaged over captions and seeds."""


@dataclass(frozen=True)
class Quality:
    """What was measured of one method's images."""

    images: Mapping[str, Float[Tensor, "C S"]]  # `EACH_IMAGE`
    frechet: Distance  # to true renders, in the judge's features
    kernel: Distance
    made: Made | None  # None for true renders, which cost no denoiser

    def mean(self, name: str) -> float:
        """The mean over all images of one of `EACH_IMAGE`."""
        return float(self.images[name].double().mean())

    def row(self, name: str) -> Row:
        """The row of the table; calls and rows of the denoiser are those of all images together."""
        cost: dict[str, Any] = {"calls": 0, "rows": 0, "seconds": 0.0}
        if self.made is not None:
            cost = {"calls": self.made.calls, "rows": self.made.rows, "seconds": self.made.seconds}
        distances = {"Frechet distance": self.frechet.value, "kernel distance": self.kernel.value}
        counts = {"n": f"{self.frechet.count}, {self.frechet.other}"}
        return {"": name, **{key: over_seeds(self.images[key]) for key in EACH_IMAGE}, **distances, **counts, **cost}


def measured(
    bench: Bench, rgb: Float[Tensor, "N 3 H W"], true: Float[Tensor, "M 3 H W"], made: Made | None = None
) -> Quality:
    """All columns for pictures of the bench, against the true renders."""
    values = judged(bench, rgb) | {"diversity": unlikeness(bench, bench.judge.image_features(rgb))}
    return Quality(values, **set_distances(bench.judge, rgb, true), made=made)


def unlikeness(bench: Bench, features: Float[Tensor, "N D"]) -> Float[Tensor, "C S"]:
    """Mean of 1 - cosine between an image and those of the other seeds of its caption; 0 for a single seed.

    Its mean over the seeds of a caption is `metrics.diversity`.
    """
    groups = features.unflatten(0, (len(bench.captions), bench.seeds))
    distances = 1 - groups @ groups.transpose(1, 2)
    distances = distances.masked_fill(torch.eye(bench.seeds, dtype=torch.bool, device=features.device), 0)
    return (distances.sum(2) / max(bench.seeds - 1, 1)).cpu()
