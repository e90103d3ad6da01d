"""What a node of a Ray cluster does for a trial: one attempt at it, in a process of its own."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path

from scoredistill.runs.folder import CONFIG
from scoredistill.sweep.board import KILL, RUN, STOP, Board
from scoredistill.sweep.engine import KILLED, End
from scoredistill.sweep.process import Attempt, threads
from scoredistill.sweep.trial import Trial

PAUSE = 0.2  # seconds between two checks of the process, and of what the sweep wants
APPEARS = 20.0  # seconds in which a folder that another machine made appears on shared storage


@dataclass(frozen=True)
class Share:
    """What an attempt gets of its node."""

    cpus: float
    gpus: float

    def environment(self) -> dict[str, str]:
        """The variables of the attempt's process: its threads; no GPU unless it has a share in one."""
        return threads(int(self.cpus)) | ({} if self.gpus else {"CUDA_VISIBLE_DEVICES": ""})


def attempt(folder: str, share: Share) -> tuple[int, str, float] | None:
    """Go on with the trial in a folder; returns exit code, last line and seconds, None if the sweep stops before.

    Its process ends with this one, after its step. If it outlives a node that failed, the next attempt waits for it.
    """
    path = Path(folder)
    board = Board.beside(path)
    if not (_appears(path / CONFIG) and _appears(board.path)):
        way_out = "--out must be a folder of storage that all nodes share, under the same path"
        raise FileNotFoundError(f"the node {platform.node()} does not see {path}: {way_out}")
    trial = Trial.open(path)
    while not trial.free():
        if board.wanted() != RUN:
            return None
        time.sleep(PAUSE)
    if trial.state() == "done":  # by the process that it waited for
        return 0, "", 0.0
    if board.wanted() != RUN:
        return None
    board.begin(trial.name)
    end = _watched(Attempt.launch(trial, share.environment()), board)
    return end.code, end.line, end.seconds


def _watched(attempt: Attempt, board: Board) -> End:
    """The end of an attempt, which does what the sweep wants."""
    try:
        while attempt.running and (wanted := board.wanted()) != KILL:
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
    """Whether a file or folder is there, or appears soon."""
    deadline = time.monotonic() + APPEARS
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
