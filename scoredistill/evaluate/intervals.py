"""Means over runs with 95 % intervals by Student's t, and shares with those of Wilson.

For runs x[p, s] of P prompts p and seeds s, N runs in all, the model is x[p, s] = mu[p] + e[p, s] with independent
normal e of one variance. The mean over all runs then has the interval

    mean(x) +- t(0.975; N - P) sqrt(V / N),   V = sum((x[p, s] - mean_s x[p, s])^2) / (N - P)

(one-way analysis of variance). It is an interval over seeds: the prompts are those that were run. Without a second seed
of any prompt there is none. For one group this is the usual interval of a mean.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

LEVEL = 0.95

Values = Mapping[tuple[Hashable, Hashable], float]
"""The values of one method by prompt and seed."""


@dataclass(frozen=True)
class Estimate:
    """A mean of `n` values, and the half-length of its interval; None where it cannot be estimated."""

    mean: float
    half: float | None
    n: int

    def __str__(self) -> str:
        spread = "" if self.half is None else f" ± {short(self.half, 2)}"
        return f"{short(self.mean)}{spread} (n = {self.n})"

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the interval, both the mean where there is none."""
        half = self.half or 0.0
        return self.mean - half, self.mean + half

    @property
    def sign(self) -> bool | None:
        """True where the whole interval is above zero, False where below; None where it holds zero or there is none."""
        return self.mean > 0 if self.half is not None and abs(self.mean) > self.half else None

    @property
    def ends(self) -> str:
        """The mean with its sign, the ends of its interval if there is one, and the number of values."""
        between = "" if self.half is None else " [{:+.3g}, {:+.3g}]".format(*self.limits)
        return f"{self.mean:+.3g}{between} (n = {self.n})"


def short(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, or more where it has more before the point."""
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e7 else f"{value:.{digits}g}"


def pooled(groups: Sequence[Sequence[float]], level: float = LEVEL) -> Estimate | None:
    """The mean over all values, with the interval of the module's docstring; None without values."""
    groups = [group for group in groups if group]
    values = [value for group in groups for value in group]
    if not values:
        return None
    freedom = len(values) - len(groups)
    if freedom == 0:
        return Estimate(fmean(values), None, len(values))
    squares = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    error = math.sqrt(squares / freedom / len(values))
    return Estimate(fmean(values), quantile(freedom, level) * error, len(values))


def quantile(freedom: int, level: float = LEVEL) -> float:
    """The standard errors on each side of a mean that its interval covers: Student's t of so many degrees."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + 0.5 * level))


def share_interval(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `count` of `total` were seen (Wilson 1927); 0 to 1 for none at all."""
    if not total:
        return 0.0, 1.0
    from scipy.stats import binomtest

    found = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def over_seeds(values: Values) -> Estimate | None:
    """The mean of one method's values, with an interval over the seeds of each prompt."""
    groups: dict[Hashable, list[float]] = {}
    for (prompt, _), value in values.items():
        groups.setdefault(prompt, []).append(value)
    return pooled(list(groups.values()))


def differences(values: Values, others: Values) -> list[float]:
    """`values` minus `others` wherever both have the prompt and the seed."""
    return [value - others[key] for key, value in values.items() if key in others]


def paired(values: Values, others: Values) -> Estimate | None:
    """The mean difference of pairs of the same prompt and seed, each pair one observation; None without pairs."""
    return pooled([differences(values, others)])
