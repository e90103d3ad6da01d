"""Pictures in labeled rows and columns, as the papers print them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from scoredistill.export.images import enlarge, grid

CELL = 128  # pixels at least of a picture in the file


@dataclass(frozen=True)
class Sheet:
    """R rows of C pictures [3 H W] in [0, 1], with the words beside and above them."""

    pictures: Float[Tensor, "R C 3 H W"]
    rows: Sequence[str]
    columns: Sequence[str]

    def __post_init__(self) -> None:
        if self.pictures.shape[:2] != (len(self.rows), len(self.columns)):
            words = f"{len(self.rows)} x {len(self.columns)} labels"
            raise ValueError(f"{words} for {self.pictures.shape[0]} x {self.pictures.shape[1]} pictures")

    def picture(self) -> Float[Tensor, "3 h w"]:
        """All pictures in one, without the words."""
        return grid(enlarge(self.pictures.flatten(0, 1), CELL), columns=len(self.columns))
