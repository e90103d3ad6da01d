"""What a node of a Ray cluster does for a trial: one attempt at it, in a process of its own."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scoredistill.runs.folder import CONFIG
from scoredistill.sweep.board import KILL, RUN, STOP, Board
from scoredistill.sweep.engine import KILLED
from scoredistill.sweep.process import Attempt, threads
from scoredistill.sweep.storage import is_url
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


def attempt(words: Sequence[str], share: Share) -> tuple[int, str, float] | None:
    """Go on with a trial by its `Trial.words`; returns exit code, line and seconds, None if the sweep stops before.

    Its process ends with this one, after its step. If it outlives a node that failed, the next attempt waits for it.
    """
    place = words[1]
    board = Board.beside(place)
    if not (_becomes(board.is_open) and (is_url(place) or _becomes((Path(place) / CONFIG).is_file))):
        way_out = "--out must be storage that all nodes share, under the same path or URL"
        raise FileNotFoundError(f"the node {platform.node()} does not see {place}: {way_out}")
    if not is_url(place):
        trial = Trial.open(Path(place))
        while not trial.free():
            if board.wanted() != RUN:
                return None
            time.sleep(PAUSE)
        if trial.state() == "done":  # by the process that it waited for
            return 0, "", 0.0
    if board.wanted() != RUN:
        return None
    board.begin(place.rpartition("/")[2])
    return _watched(Attempt.launch(words, share.environment()), board)


def _watched(attempt: Attempt, board: Board) -> tuple[int, str, float]:
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
        return KILLED, "", 0.0
    return attempt.end()


def _becomes(condition: Callable[[], bool]) -> bool:
    """Whether something is the case, or is soon: shared storage may be late."""
    deadline = time.monotonic() + APPEARS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
