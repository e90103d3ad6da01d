"""What a node of a Ray cluster does for a trial: one attempt at it, in a process of its own."""

from __future__ import annotations

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoredistill.runs.folder import CONFIG
from scoredistill.sweep.engine import KILLED, End
from scoredistill.sweep.process import Attempt, threads
from scoredistill.sweep.trial import Trial

PAUSE = 0.1  # seconds between two checks of the process
ASK = 1.0  # seconds between two questions whether the sweep stops
APPEARS = 20.0  # seconds in which a folder that another machine made appears on shared storage

RUN, STOP, KILL = "run", "stop", "kill"
"""What the sweep wants of its attempts: to run, to stop after their step, to end at once."""


class Board:
    """An actor beside the sweep: which trials have begun, and whether they are to stop."""

    def __init__(self) -> None:
        self.wish = RUN
        self.begun: list[str] = []

    def begin(self, name: str) -> str:
        """Enter the beginning of a trial, unless the sweep stops; returns what the sweep wants."""
        if self.wish == RUN:
            self.begun.append(name)
        return self.wish

    def wanted(self) -> str:
        """What the sweep wants."""
        return self.wish

    def want(self, wish: str) -> list[str]:
        """Tell the attempts what to do; returns the trials that have begun so far, which no other will follow."""
        self.wish = wish
        return self.begun

    def beginnings(self) -> list[str]:
        """The trials that have begun, but for those before a loss of the board's node."""
        return self.begun


@dataclass(frozen=True)
class Share:
    """What an attempt gets of its node."""

    cpus: float
    gpus: float

    def environment(self) -> dict[str, str]:
        """The variables of the attempt's process: its threads; no GPU unless it has a share in one."""
        return threads(int(self.cpus)) | ({} if self.gpus else {"CUDA_VISIBLE_DEVICES": ""})


def attempt(folder: str, share: Share, board: Any) -> tuple[int, str, float] | None:
    """Go on with the trial in a folder; returns exit code, last line and seconds, None if the sweep stops before.

    Its process ends with this one, after its step. If it outlives a node that failed, the next attempt waits for it.
    """
    with ThreadPoolExecutor(1) as pool:
        end = _attempt(Path(folder), share, _Questions(board, pool))
    return None if end is None else (end.code, end.line, end.seconds)


def _attempt(path: Path, share: Share, questions: _Questions) -> End | None:
    if not _appears(path / CONFIG):
        way_out = "--out must be a folder of storage that all nodes share, under the same path"
        raise FileNotFoundError(f"the node {platform.node()} does not see {path}: {way_out}")
    trial = Trial.open(path)
    while not trial.free():
        if questions.wanted() != RUN:
            return None
        time.sleep(PAUSE)
    if trial.state() == "done":  # by the process that it waited for
        return End(trial, 0, "", 0.0)
    if questions.begin(trial.name) != RUN:
        return None
    return _watched(Attempt.launch(trial, share.environment()), questions)


class _Questions:
    """The board, asked in a thread: a task that waits for Ray in its main thread lends its share of the node."""

    def __init__(self, board: Any, pool: ThreadPoolExecutor) -> None:
        self.board, self.pool = board, pool
        self.answer, self.since = RUN, time.monotonic()

    def begin(self, name: str) -> str:
        """See `Board.begin`."""
        return self._asked(self.board.begin, name)

    def wanted(self) -> str:
        """See `Board.wanted`; asked once in a while."""
        if time.monotonic() - self.since > ASK:
            self.answer, self.since = self._asked(self.board.wanted), time.monotonic()
        return self.answer

    def _asked(self, question: Any, *words: str) -> str:
        import ray

        answer: Any = self.pool.submit(lambda: ray.get(question.remote(*words))).result()
        return answer


def _watched(attempt: Attempt, questions: _Questions) -> End:
    """The end of an attempt, which does what the sweep wants."""
    try:
        while attempt.running and (wanted := questions.wanted()) != KILL:
            if wanted == STOP:
                attempt.stop()
            time.sleep(PAUSE)
    except BaseException:
        attempt.kill()
        raise
    if attempt.running:
        attempt.kill()
        return End(attempt.trial, KILLED, "", 0.0)
    return attempt.end()


def _appears(path: Path) -> bool:
    """Whether a file is there, or appears soon."""
    deadline = time.monotonic() + APPEARS
    while not path.is_file():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
