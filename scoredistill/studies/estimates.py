"""Numbers with their errors: means over captions and seeds, and when one exceeds another.

C captions   S seeds
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from scoredistill.evaluate.intervals import Estimate, pooled

Summary = dict[str, float | int | None]
"""{"mean", "sd", "n"}: n seeds, the standard deviation between their means over captions (None for one seed)."""


def over_seeds(values: Float[Tensor, "C S"]) -> Summary:
    """The mean, and the sample standard deviation (n - 1) over seeds of the means over captions."""
    means = values.double().mean(0)
    spread = float(means.std()) if len(means) > 1 else None
    return {"mean": float(means.mean()), "sd": spread, "n": len(means)}


def gap(a: Float[Tensor, "C S"], b: Float[Tensor, "C S"]) -> Estimate:
    """How much larger a is than b, paired by caption and seed; no interval for fewer than two pairs."""
    return pooled([(a - b).double().flatten().tolist()]) or Estimate(0.0, None, 0)


Part = tuple[bool | None, str]
"""Whether a part of a claim holds, and the words and numbers that say so."""


def exceeds(what: str, a: Float[Tensor, "C S"], b: Float[Tensor, "C S"]) -> Part:
    """The part of a claim that a exceeds b; `what` says what their difference is."""
    found = gap(a, b)
    return found.sign, f"{what} {found.ends}"


def conclude(*parts: Part) -> tuple[bool | None, str]:
    """Whether a claim of several parts holds, and the sentence that says of each part if it does."""
    says = {True: "yes", False: "no", None: "undecided"}
    return all_of(*(holds for holds, _ in parts)), "; ".join(f"{text}: {says[holds]}" for holds, text in parts) + "."


def all_of(*signs: bool | None) -> bool | None:
    """Whether all parts of a claim hold: False where one fails, None where one is undecided."""
    if False in signs:
        return False
    return None if None in signs else True
