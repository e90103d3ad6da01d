"""True renders of what captions say: what a picture of a caption should look like."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.report import expected
from scoredistill.toybox import BACKGROUND, Description, build, render
from scoredistill.toybox.dataset import random_cameras

SEED = 30_000  # apart from the seeds of every data set


def toy(caption: str, count: int, size: int, rng: np.random.Generator) -> Float[Tensor, "V 3 H W"]:
    """One toy that the caption describes, from `count` cameras drawn as for the prior's data, H = W = size.

    Of the caption only kind and main color count; proportions and colors of parts are chance.
    """
    described = Description(*expected(caption))
    return render(build(described, rng), random_cameras(rng, count, size), torch.tensor(BACKGROUND)).rgb


def renders(captions: tuple[str, ...], count: int, size: int, seed: int = SEED) -> Float[Tensor, "N 3 H W"]:
    """`count` toys of each caption, one true render of each, caption by caption."""
    rng = np.random.default_rng(seed)
    return torch.cat([toy(caption, 1, size, rng) for caption in captions for _ in range(count)])
