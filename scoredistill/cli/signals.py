"""Ctrl-C, SIGTERM and SIGHUP during a run."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType

CAUGHT = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
APART = 0.3  # seconds; what comes sooner is the same signal: a shell that ends sends SIGHUP twice, `timeout` SIGTERM


class Signals:
    """The first signal stops the run after its step; a second one stops it at once, by KeyboardInterrupt.

    `notice` is printed at the first signal. A signal that the process ignores, as after `nohup`, stays ignored.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int = signal.SIGINT
        self.notice = ""

    def stop_requested(self) -> bool:
        """Whether the run should stop."""
        return self.first is not None

    def request_stop(self) -> None:
        """Stop the run after its step, as the first Ctrl-C does."""
        if self.first is None:
            self.first, self._since = signal.SIGINT, time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether the first signal leaves no time for the results: any but Ctrl-C."""
        return self.first not in (None, signal.SIGINT)

    @property
    def code(self) -> int:
        """The exit code that names the last signal."""
        return 128 + self.last

    def __enter__(self) -> Signals:
        heeded = [number for number in CAUGHT if signal.getsignal(number) is not signal.SIG_IGN]
        self._old = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self.last, self._since = number, number, now
            if self.notice:
                print(self.notice, flush=True)
        elif now - self._since > APART:
            self.last = number
            raise KeyboardInterrupt
