"""Whether a command ended as the program promises: one clear line, a known exit code, in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tools.abuse.child import Outcome

ERROR, WARNING, NOTE = "scoredistill: error: ", "scoredistill: warning: ", "scoredistill: note: "
CODES = (0, 1, 2, 130)


def trouble(outcome: Outcome) -> str:
    """The kind of a broken promise; empty if there is none."""
    lines = outcome.err.splitlines()
    errors = [line for line in lines if line.startswith(ERROR)]
    if outcome.late:
        return "hang"
    if outcome.code < 0:
        return f"crash by signal {-outcome.code}"
    if "Traceback (most recent call last)" in outcome.err:
        return "traceback"
    if "this is a bug" in outcome.err:
        return "this is a bug"
    if outcome.code not in CODES:
        return f"exit code {outcome.code}"
    if outcome.code and len(errors) != 1:
        return f"{len(errors)} error lines"
    if outcome.code == 0 and errors:
        return "an error line with exit code 0"
    if outcome.code and [line for line in lines if line and not line.startswith((ERROR, WARNING, NOTE))]:
        return "other lines beside the error"
    return ""


def complaints(outcome: Outcome) -> list[str]:
    """All lines on stderr but the notes."""
    return [line for line in outcome.err.splitlines() if line.strip() and not line.startswith(NOTE)]


def last_line(outcome: Outcome) -> str:
    """The last line on stderr, where the reason stands."""
    return next((line for line in reversed(outcome.err.splitlines()) if line.strip()), "")


def table(tried: Counter[str], failed: Mapping[str, Counter[str]]) -> str:
    """A summary: a row for each subject, its number of cases, and how many failed in which way."""
    rows = [f"{'subject':<32} {'cases':>6} {'failed':>6}  how"]
    for subject, count in sorted(tried.items()):
        kinds: Counter[str] = failed.get(subject, Counter())
        how = ", ".join(f"{kind} ({number})" for kind, number in kinds.most_common())
        rows.append(f"{subject:<32} {count:>6} {sum(kinds.values()):>6}  {how}")
    total = sum(sum(kinds.values()) for kinds in failed.values())
    return "\n".join([*rows, f"{'all':<32} {sum(tried.values()):>6} {total:>6}"])


def named(outcome: Outcome, words: Sequence[str]) -> bool:
    """Whether an error or a warning contains one of the words."""
    lines = [line for line in outcome.err.splitlines() if line.startswith((ERROR, WARNING))]
    return any(word in line for line in lines for word in words)
