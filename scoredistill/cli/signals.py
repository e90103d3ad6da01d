"""Ctrl-C and SIGTERM during a run."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Signals:
    """The first Ctrl-C, or SIGTERM, stops the run after its step; a second Ctrl-C stops it at once."""

    def __init__(self) -> None:
        self.interrupted = self.terminated = False

    def stop_requested(self) -> bool:
        """Whether the run should stop."""
        return self.interrupted or self.terminated

    def __enter__(self) -> Signals:
        self._old = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self.terminated = True
        elif self.interrupted:
            raise KeyboardInterrupt
        else:
            self.interrupted = True
