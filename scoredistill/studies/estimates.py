"""Numbers with their errors: means over captions and seeds, and when one exceeds another.

C captions   S seeds
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.intervals import quantile

Estimate = dict[str, float | int | None]
"""{"mean", "sd", "n"}: n seeds, the standard deviation between their means over captions (None for one seed)."""


def over_seeds(values: Float[Tensor, "C S"]) -> Estimate:
    """The mean, and the sample standard deviation (n - 1) over seeds of the means over captions."""
    means = values.double().mean(0)
    spread = float(means.std()) if len(means) > 1 else None
    return {"mean": float(means.mean()), "sd": spread, "n": len(means)}


@dataclass(frozen=True)
class Gap:
    """How much larger a is than b, image by image: the mean, its standard error, and over how many images."""

    mean: float
    error: float  # infinite for a single image
    count: int

    @property
    def half(self) -> float:
        """Half the length of the 95 % interval of the mean, by Student's t; infinite for a single image."""
        return quantile(self.count - 1) * self.error if self.count > 1 else math.inf

    @property
    def sign(self) -> bool | None:
        """True where the interval lies above zero, so that a exceeds b, False where below, None where it holds zero."""
        return self.mean > 0 if abs(self.mean) > self.half else None

    def __str__(self) -> str:
        error = f" ± {self.error:.2g}" if self.count > 1 else ""
        return f"{self.mean:+.3g}{error} (n = {self.count})"


def gap(a: Float[Tensor, "C S"], b: Float[Tensor, "C S"]) -> Gap:
    """a - b paired by caption and seed."""
    difference = (a - b).double().flatten()
    count = len(difference)
    error = float(difference.std()) / math.sqrt(count) if count > 1 else math.inf
    return Gap(float(difference.mean()), error, count)


Part = tuple[bool | None, str]
"""Whether a part of a claim holds, and the words and numbers that say so."""


def exceeds(what: str, a: Float[Tensor, "C S"], b: Float[Tensor, "C S"]) -> Part:
    """The part of a claim that a exceeds b; `what` says what their difference is."""
    found = gap(a, b)
    return found.sign, f"{what} {found}"


def conclude(*parts: Part) -> tuple[bool | None, str]:
    """Whether a claim of several parts holds, and the sentence that says of each part if it does."""
    says = {True: "yes", False: "no", None: "undecided"}
    return all_of(*(holds for holds, _ in parts)), "; ".join(f"{text}: {says[holds]}" for holds, text in parts) + "."


def all_of(*signs: bool | None) -> bool | None:
    """Whether all parts of a claim hold: False where one fails, None where one is undecided."""
    if False in signs:
        return False
    return None if None in signs else True
