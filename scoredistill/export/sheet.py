"""Images in labeled rows and columns, as in the figures of papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from scoredistill.export.images import enlarge, grid

CELL = 128  # smallest side of an image in the file, in pixels


@dataclass(frozen=True)
class Sheet:
    """R rows of C images [3 H W] in [0, 1], with labels of rows and columns."""

    pictures: Float[Tensor, "R C 3 H W"]
    rows: Sequence[str]
    columns: Sequence[str]

    def __post_init__(self) -> None:
        if self.pictures.shape[:2] != (len(self.rows), len(self.columns)):
            labels = f"{len(self.rows)} x {len(self.columns)} labels"
            raise ValueError(f"{labels} for {self.pictures.shape[0]} x {self.pictures.shape[1]} pictures")

    def picture(self) -> Float[Tensor, "3 h w"]:
        """All images in one, without the labels."""
        return grid(enlarge(self.pictures.flatten(0, 1), CELL), columns=len(self.columns))
