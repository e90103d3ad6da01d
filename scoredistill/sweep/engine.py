"""What runs the trials of a sweep: an engine takes them and yields how each ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from scoredistill.sweep.trial import Trial

KILLED = -9  # the exit code of a process that SIGKILL ended
ERROR = "scoredistill: error: "  # how the command line begins the line that it ends with


class EngineError(Exception):
    """The engine itself cannot go on; what is done stays, and the same sweep goes on later."""


@dataclass(frozen=True)
class End:
    """How an attempt at a trial ended; whether the run is done is for its folder to say."""

    trial: Trial
    code: int  # exit code; negative: minus the signal that killed the process
    line: str  # the last line on standard error, without the program's name
    seconds: float


@runtime_checkable
class Engine(Protocol):
    """Runs trials, each by `scoredistill resume` on the folder that `Trial.prepare` makes."""

    def run(
        self, trials: Sequence[Trial], started: Callable[[Trial], object], stop: Callable[[], bool]
    ) -> Iterator[End]:
        """Yield the end of every trial, in whatever order they end; `started` is called when one begins.

        Once `stop()` is true no trial begins, and those that run stop after their step, with a checkpoint; their ends
        are yielded too. A generator that is closed leaves no process behind.
        """
        ...


def first_line(error: BaseException) -> str:
    """The first line of an error of a library, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def last_line(stderr: str) -> str:
    """The error in what a command wrote to standard error, or the last line; in one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return (errors or lines or [""])[-1]


def why_ended(code: int, stderr: str) -> str:
    """Why an attempt ended that did not end well, in one line."""
    if code < 0:
        reason = ": a lack of memory is the usual reason" if code == KILLED else ""
        return f"its process was killed by signal {-code}{reason}"
    return last_line(stderr) or f"its process ended with exit code {code}"
