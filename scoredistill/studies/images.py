"""How images of a bench are judged and shown.

N images   C captions   S seeds   H W pixels in [0, 1]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate import metrics
from scoredistill.evaluate.report import expected
from scoredistill.export.sheet import Sheet
from scoredistill.studies.estimates import over_seeds
from scoredistill.studies.study import Bench, X

MEASURES = ("similarity", "kind right", "color right", "sharpness", "saturation")
"""What `judged` measures; the first three by the judge."""


@torch.no_grad()
def pixels(bench: Bench, x: X) -> Float[Tensor, "N 3 H W"]:
    """The images as a display shows them, on the CPU."""
    return bench.prior.decode(x).float().cpu().nan_to_num(0, 0, 0).clamp(0, 1)


@torch.no_grad()
def encoded(bench: Bench, rgb: Float[Tensor, "N 3 H W"]) -> X:
    """Pictures in the prior's space."""
    return bench.prior.encode(rgb.to(bench.prior.device))


def judged(bench: Bench, rgb: Float[Tensor, "N 3 H W"]) -> dict[str, Float[Tensor, "C S"]]:
    """The `MEASURES` of each image.

    Similarity: cosine between picture and caption. Kind and color: 1 where recognized. Sharpness: share of
    edge energy that a second blur removes. Saturation: mean over pixels of the largest minus the least channel.
    """
    seen = bench.judge.recognize(rgb)
    asked = [expected(text) for text in bench.texts]
    own = (bench.judge.image_features(rgb) * bench.judge.text_features(bench.texts)).sum(-1)
    values = (
        own,
        torch.tensor([kind == name for (kind, _), name in zip(asked, seen.kinds, strict=True)]).float(),
        torch.tensor([color == name for (_, color), name in zip(asked, seen.colors, strict=True)]).float(),
        metrics.sharpness(rgb),
        metrics.saturation(rgb),
    )
    return {name: bench.fold(value) for name, value in zip(MEASURES, values, strict=True)}


def row(bench: Bench, name: str, x: X) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A row of a table with the mean of each measure, and the measures themselves."""
    values = judged(bench, pixels(bench, x))
    return {"": name, **{measure: over_seeds(value) for measure, value in values.items()}}, values


def side_by_side(bench: Bench, columns: Mapping[str, X]) -> Sheet:
    """The first seed of each caption, a caption a row, one column for each named batch of images x."""
    return first_seeds(bench, {name: pixels(bench, x) for name, x in columns.items()})


def first_seeds(bench: Bench, columns: Mapping[str, Float[Tensor, "N 3 H W"]]) -> Sheet:
    """The same of pictures in [0, 1]."""
    return Sheet(torch.stack(list(map(bench.firsts, columns.values())), 1), bench.captions, tuple(columns))
