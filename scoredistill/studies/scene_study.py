"""A study in 3D: what it compares, what the claim says of it, and how many pairs decide.

C captions   S seeds   V views of a result   H W pixels
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.intervals import Estimate, quantile, share_interval
from scoredistill.export.sheet import Sheet
from scoredistill.studies.estimates import Part, gap
from scoredistill.studies.finished import Further
from scoredistill.studies.terms import Terms

if TYPE_CHECKING:
    from scoredistill.studies.scene_conduct import Found

Settings = Mapping[str, Any]
"""Settings of a run by the names of a sweep: method, method.scale, scene, resolution ..."""
Values = Mapping[str, Float[Tensor, "C S"]]
"""What was measured of the runs of an arm, by the name of the metric; NaN where it has no meaning.

The diversity of the seeds of a caption is one value, [C 1].
"""

MOST_PAIRS = 1000  # more would show an effect that is not worth seeing
POWER = 0.8  # share of studies that see the effect
SIDES = (0, 2, 4)  # of the views that are measured: front, side and back


@runtime_checkable
class Statement(Protocol):
    """A part of a claim."""

    def part(self, arms: Mapping[str, Values]) -> Part:
        """Whether it holds, and the words and numbers that say so."""
        ...


@dataclass(frozen=True)
class Exceeds:
    """A metric is larger in one arm than in another, over pairs of equal caption and seed."""

    metric: str
    one: str
    other: str
    effect: float  # the least difference worth seeing, for which the number of pairs is planned

    def part(self, arms: Mapping[str, Values]) -> Part:
        """Decided where the 95 % interval of the mean difference leaves out zero."""
        found = difference(arms, self.metric, self.one, self.other)
        words = f"{self.metric} of {self.one} minus that of {self.other} {found.ends}"
        return found.sign, words + ("" if found.sign is not None else f", {open_pairs(found, self.effect)}")


@dataclass(frozen=True)
class NoWorse:
    """A metric of one arm is not smaller than that of another by more than a margin."""

    metric: str
    one: str
    other: str
    margin: float

    @property
    def effect(self) -> float:
        """The difference for which the number of pairs is planned."""
        return self.margin

    def part(self, arms: Mapping[str, Values]) -> Part:
        """Decided where the 95 % interval of the mean difference lies on one side of the margin."""
        found = difference(arms, self.metric, self.one, self.other)
        shifted = replace(found, mean=found.mean + self.margin)
        words = f"{self.metric} of {self.one} minus that of {self.other} {found.ends}, at worst -{self.margin:g}"
        return shifted.sign, words + ("" if shifted.sign is not None else f", {open_pairs(shifted, 0)}")


@dataclass(frozen=True)
class Above:
    """The mean of a metric of one arm is above a number, over captions and seeds."""

    metric: str
    arm: str
    least: float = 0.0

    def part(self, arms: Mapping[str, Values]) -> Part:
        """Decided where the 95 % interval of the mean leaves out the number."""
        found = difference({**arms, "": {self.metric: torch.tensor(self.least)}}, self.metric, self.arm, "")
        less = f" minus {self.least:g}" if self.least else ""
        return found.sign, f"{self.metric} of {self.arm}{less} {found.ends}"


@dataclass(frozen=True)
class Rare:
    """What is 1 or 0 in each run occurs in less than a share of the runs of one arm."""

    metric: str
    arm: str
    most: float

    def part(self, arms: Mapping[str, Values]) -> Part:
        """Decided where the 95 % interval of the share (Wilson 1927) lies on one side of `most`."""
        values = arms[self.arm].get(self.metric, torch.full((1, 1), math.nan))
        known = values[values.isfinite()]
        low, high = share_interval(int(known.sum()), len(known))
        holds = True if high < self.most else False if low > self.most else None
        words = f"{self.metric} in {int(known.sum())} of {len(known)} runs of {self.arm}"
        return holds, f"{words} [{low:.2f}, {high:.2f}], at most {self.most:g}"


Inputs = Callable[[Sequence[str], Path], Settings]
"""(captions, folder of the study) -> the axes of a sweep's grid that say what runs start from, one value a caption."""


def prompts(captions: Sequence[str], folder: Path) -> Settings:
    """The captions themselves; nothing is written."""
    return {"prompt": list(captions)}


@dataclass(frozen=True)
class SceneStudy:
    """A figure or table of a paper in 3D: every arm with every caption and seed."""

    name: str
    title: str  # in one line
    paper: str  # the method whose paper it is: a key of METHODS
    figure: str  # "table 1"
    claim: str  # what the paper says
    arms: Callable[[Terms], Mapping[str, Settings]]
    statements: Sequence[Statement]
    captions: int = 12
    seeds: int = 4
    prior: str = "toybox-mv"  # where it runs unless asked otherwise
    metrics: Sequence[str] = ()  # columns of the table, by default all that were measured
    paper_size: tuple[int, int] = (43, 1)  # prompts and seeds of the paper
    protocol: str = "sdi"  # views of a result in the paper, a key of PROTOCOLS
    inputs: Inputs = prompts  # what the runs start from
    further: Further | None = None  # what is measured beyond the metrics of every study
    sheets: Callable[[Found], Mapping[str, Sheet]] | None = None  # pictures beside those of every study
    remarks: str = ""


def difference(arms: Mapping[str, Values], metric: str, one: str, other: str) -> Estimate:
    """How much larger a metric is in one arm, over the pairs in which both have it."""
    a, b = torch.broadcast_tensors(*(arms[arm].get(metric, torch.full((1, 1), math.nan)) for arm in (one, other)))
    both = a.isfinite() & b.isfinite()
    return gap(a[both][None], b[both][None])


def deviation(found: Estimate) -> float | None:
    """The standard deviation of the differences of which `found` is the mean; None for fewer than two pairs."""
    return None if found.half is None else found.half / quantile(found.n - 1) * math.sqrt(found.n)


def open_pairs(found: Estimate, effect: float) -> str:
    """How many pairs would decide: for the difference as it was found, or for `effect` if that is larger.

    Where there are as many already, an effect of that size would have been seen.
    """
    needed = pairs(deviation(found) or 0.0, max(abs(found.mean), effect))
    if 0 < needed <= found.n:
        return f"a difference of {effect:g} would have shown"
    if needed > MOST_PAIRS:
        return f"more than {MOST_PAIRS} pairs would be needed"
    return f"{needed} pairs would decide" if needed else "more pairs are needed"


def pairs(deviation: float, effect: float) -> int:
    """The pairs that show a mean difference `effect` in 80 % of studies; 0 where effect or deviation is 0: unknown.

    The least n with sqrt(n) effect >= (t(.975; n - 1) + t(.8; n - 1)) sd (Cohen 1988), where `deviation` sd is the
    standard deviation of the difference between pairs.
    """
    if min(effect, deviation) <= 0:
        return 0

    def errors(freedom: int) -> float:
        return quantile(freedom) + quantile(freedom, 2 * POWER - 1)

    count = max(math.ceil((errors(10**9) * deviation / effect) ** 2), 2)
    while errors(count - 1) * deviation > math.sqrt(count) * effect:
        count += 1
    return count


def planned(study: SceneStudy, pilot: Mapping[str, Values]) -> list[str]:
    """A line for each statement that names a least effect: how many pairs the study needs, by the runs of a pilot."""
    lines = []
    for each in study.statements:
        if isinstance(each, Exceeds | NoWorse):
            found = difference(pilot, each.metric, each.one, each.other)
            spread = deviation(found)
            needed = "unknown: fewer than two pairs" if spread is None else f"{pairs(spread, each.effect)} pairs"
            lines.append(f"{each.metric}, {each.one} and {each.other}, effect {each.effect:g}: {needed}")
    return lines


def stacked(rows: Mapping[tuple[int, int], Mapping[str, float]], captions: int, seeds: int) -> Values:
    """The metrics of the runs of an arm, (caption, seed) -> values, as tables; NaN where a run has none."""
    names = dict.fromkeys(name for row in rows.values() for name in row)
    tables = {name: torch.full((captions, seeds), math.nan, dtype=torch.float64) for name in names}
    for (caption, seed), row in rows.items():
        for name, value in row.items():
            tables[name][caption, seed] = value
    return tables
