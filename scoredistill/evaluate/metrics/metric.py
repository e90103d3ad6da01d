"""What is said of every metric: equation, source, range, direction, and the priors for which it means something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Priors = Literal["all", "toybox"]
"""all: any prior. toybox: the judge's vocabulary, so the embedded priors and files of Toybox weights only."""


@dataclass(frozen=True)
class Metric:
    """A metric in words, as `scoredistill metrics` lists it."""

    name: str  # the column of tables
    title: str  # what it measures
    equation: str
    source: str
    low: float  # range
    high: float
    higher_is_better: bool | None  # None: neither end is better
    priors: Priors
    validation: str  # what it was shown to measure, and what misleads it
