"""The sliced Wasserstein distance between the patches of two sets of pictures: are the details there?

N, M pictures   D directions   H W pixels; rgb in [0, 1]
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scoredistill.evaluate.metrics.metric import Metric

PATCH_DISTANCE = Metric(
    name="patch_distance",
    title="difference of the details of the views from those of true renders of the prompt, from the same cameras",
    equation="mean over bands b and directions d of W_1(d . patches of b(x), d . patches of b(y))",
    source="sliced Wasserstein distance of Karras et al. 2018, section 5",
    low=0,
    high=math.inf,
    higher_is_better=False,
    priors="toybox",
    validation="rises with blur, noise, other contrast and missing parts; does not see a constant offset of colors "
    "(benchmarks/results/metrics/patches.md)",
)

SIZE = 64  # pixels: other pictures are resized
THOUSAND = 1000  # the distance is in thousandths of the range of a pixel
_PATCH, _BANDS, _DIRECTIONS, _SEED = 7, 2, 64, 0

Quantiles = Float[Tensor, "D _"]
"""The values of all patches along each direction, in increasing order."""


def patch_distance(x: Float[Tensor, "N 3 _ _"], y: Float[Tensor, "M 3 _ _"]) -> float:
    """mean W_1 of the 7 x 7 patches of x and y along 64 directions, in the bands of 1 and 2 pixels (SIZE = 64).

    Karras et al. 2018, section 5, with all patches instead of random ones, without normalizing the contrast, and
    without the coarse bands, which hold shapes and colors. A band is a level of a Laplacian pyramid: what 2 x 2 means
    lose. The directions are random unit vectors, always the same. In thousandths of the range of a
    pixel. It does not matter where in the pictures the patches are.
    """
    return distance(patches(x), patches(y))


def distance(x: list[Quantiles], y: list[Quantiles]) -> float:
    """The distance of two sets of `patches`; of many patches as many quantiles are taken as there are of the others."""
    return THOUSAND * fmean(float((one - other).abs().mean()) for one, other in map(_matched, x, y))


def patches(rgb: Float[Tensor, "N 3 H W"]) -> list[Quantiles]:
    """What `distance` compares: of each band, the patches along each direction."""
    if rgb.shape[-2:] != (SIZE, SIZE):
        rgb = functional.interpolate(rgb, (SIZE, SIZE), mode="bilinear", antialias=True)
    found = []
    for _ in range(_BANDS):
        coarse = functional.avg_pool2d(rgb, 2)
        band = rgb - functional.interpolate(coarse, scale_factor=2, mode="bilinear")
        along = functional.conv2d(band, _directions().to(band))
        found.append(along.movedim(1, 0).flatten(1).sort(1).values)
        rgb = coarse
    return found


@lru_cache
def _directions() -> Float[Tensor, "D 3 7 7"]:
    drawn = torch.randn(_DIRECTIONS, 3, _PATCH, _PATCH, generator=torch.Generator().manual_seed(_SEED))
    return drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]


def _matched(x: Quantiles, y: Quantiles) -> tuple[Quantiles, Quantiles]:
    """Both with the smaller number of columns."""
    count = min(x.shape[1], y.shape[1])
    return _evenly(x, count), _evenly(y, count)


def _evenly(x: Quantiles, count: int) -> Quantiles:
    """`count` quantiles at the middles of equal shares."""
    return x[:, ((torch.arange(count, dtype=torch.float64) + 0.5) * x.shape[1] / count).long()]
