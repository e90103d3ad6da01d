"""A finished run of a study in 3D, as its study measures it.

V views   H W pixels
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.geometry import Likeness, Shape, shape_of
from scoredistill.evaluate.judge import Judge
from scoredistill.recipes.recipe import Recipe


@dataclass(frozen=True)
class Finished:
    """A finished run of a study, for what the study measures beyond the rest."""

    folder: Path
    recipe: Recipe
    scene: Any
    judge: Judge
    family: Sequence[Shape]  # toys that the prompt describes; none where the prior draws no toys
    rgb: Float[Tensor, "V 3 H W"]  # the views that are judged, in [0, 1]
    values: Mapping[str, float]  # what the judge and the run's own files say of it

    @cached_property
    def shape(self) -> Shape:
        """The shape of the scene."""
        return shape_of(self.scene, self.recipe.prior.device)


Further = Callable[[Finished], Mapping[str, float]]
"""What a study measures of its runs beyond what is measured of every run."""


def metrics_of(found: Likeness, prefix: str = "") -> dict[str, float]:
    """A likeness as metrics; NaN for what an empty scene has not."""
    values = {name: getattr(found, name) for name in ("chamfer", "normals", "overlap", "volume")}
    return {prefix + name: value if math.isfinite(value) else math.nan for name, value in values.items()}
