"""An attempt at a trial in a process of its own, which every engine starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from scoredistill.sweep.engine import why_ended

WORKER = (sys.executable, "-m", "scoredistill.cli.worker")
"""The command line, for a process that stops when its standard input ends."""
STDERR = 20_000  # bytes of a trial's standard error that are read, from its end


@dataclass(eq=False)
class Attempt:
    """A run that goes on; it stops after its step when this process ends."""

    popen: subprocess.Popen[bytes]
    stderr: IO[bytes]
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def launch(cls, words: Sequence[str], environment: Mapping[str, str]) -> Attempt:
        """Start the process with the words of `Trial.words` and these variables set."""
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end` and `kill`)
        popen = subprocess.Popen(
            [*WORKER, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | environment,
            start_new_session=True,  # Ctrl-C is for the sweep, which stops its trials
        )
        return cls(popen, stderr)

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self.popen.poll() is None

    def stop(self) -> None:
        """Let the run stop after its step."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()

    def kill(self) -> None:
        """End the process at once."""
        self.stop()
        self.popen.kill()
        self.popen.wait()
        self.stderr.close()

    def end(self) -> tuple[int, str, float]:
        """How it ended, once it has: code, line and seconds, as in `End`."""
        self.stop()
        length = self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(length - STDERR, 0))
        text = self.stderr.read().decode(errors="replace")
        self.stderr.close()
        code = self.popen.returncode
        return code, why_ended(code, text) if code else "", time.monotonic() - self.began


def threads(count: int) -> dict[str, str]:
    """The variable that gives a process so many threads."""
    return {"OMP_NUM_THREADS": str(max(count, 1))}
