"""Running a sweep: what is done stays, what was interrupted goes on, what failed is tried again as often as allowed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from scoredistill.config import Range
from scoredistill.files import check_replaceable, remove_unfinished, write_safely
from scoredistill.runs.folder import CONFIG
from scoredistill.runs.lock import hold
from scoredistill.sweep.engine import End, Engine
from scoredistill.sweep.plan import SweepConfig, trials, with_prompts, write_plan
from scoredistill.sweep.trial import Failure, Trial

PLAN = "sweep.yaml"
"""The plan of a sweep, in its folder."""

Retries = Annotated[int, Range(0, 100)]


@dataclass
class Tally:
    """How far a sweep is; trials by name."""

    total: int
    done: int = 0
    running: list[str] = field(default_factory=list)
    failed: dict[str, Failure] = field(default_factory=dict)
    ended: int = 0  # trials that this process has brought to an end
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        """The expected seconds to the end, by the trials that ended so far; None before the first."""
        left = self.total - self.done - len(self.failed)
        return (time.monotonic() - self.began) / self.ended * left if self.ended else None

    @property
    def complete(self) -> bool:
        """Whether every trial is done."""
        return self.done == self.total


Report = Callable[[Tally, End | None], object]
"""Called whenever a trial begins or ends, with its end."""


def conduct(
    plan: SweepConfig, folder: Path, engine: Engine, *, retries: int, report: Report, stop: Callable[[], bool]
) -> Tally:
    """Run the trials of a plan that are not done yet; returns how far that came.

    A trial that fails is tried again up to `retries` times, this and earlier sweeps in the folder together. ValueError,
    before anything runs, for a plan that cannot be run, a folder that is a run's, that another process sweeps, or that
    holds other runs under the names of the trials.
    """
    planned = trials(plan, folder)
    if (folder / CONFIG).exists():
        raise ValueError(f"{folder} is the folder of a run: choose another for the sweep")
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder):
        remove_unfinished(folder)
        for trial in planned:
            trial.check()
        check_replaceable(folder / PLAN)
        write_safely(folder / PLAN, write_plan(with_prompts(plan)).encode())
        return run_trials(planned, engine, retries=retries, report=report, stop=stop)


def run_trials(
    planned: Sequence[Trial], engine: Engine, *, retries: int, report: Report, stop: Callable[[], bool]
) -> Tally:
    """Run those of the trials that are not done yet; returns how far that came."""
    tally = Tally(len(planned))
    waiting = []
    for trial in planned:
        if trial.state() == "done":
            tally.done += 1
        elif (failure := trial.failure()) is not None and failure.attempts > retries:
            tally.failed[trial.name] = failure
        else:
            waiting.append(trial)

    def started(trial: Trial) -> None:
        tally.running.append(trial.name)
        report(tally, None)

    while waiting and not stop():
        again = []
        with contextlib.closing(engine.run(waiting, started, stop)) as ends:  # type: ignore[type-var]
            for end in ends:
                if _ended(end, tally, retries, stop):
                    again.append(end.trial)
                report(tally, end)
        waiting = again
    return tally


def _ended(end: End, tally: Tally, retries: int, stop: Callable[[], bool]) -> bool:
    """Enter the end of an attempt; returns whether the trial is to be tried again."""
    trial = end.trial
    if trial.name in tally.running:
        tally.running.remove(trial.name)
    if trial.state() == "done":
        trial.forget_failure()
        tally.done += 1
        tally.ended += 1
        return False
    if stop():
        return False
    failure = trial.record_failure(end.line)
    if failure.attempts <= retries:
        return True
    tally.failed[trial.name] = failure
    tally.ended += 1
    return False
