"""The engine of this machine: some processes at a time, a fresh one for each trial."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Annotated

from scoredistill.config import Config, Range
from scoredistill.recipes.recipe import cuda_index
from scoredistill.sweep.engine import End, why_ended
from scoredistill.sweep.trial import Trial

WORKER = (sys.executable, "-m", "scoredistill.cli.worker")
"""The command line, for a process that stops when its standard input ends."""
PAUSE = 0.05  # seconds between two checks of the processes
STDERR = 20_000  # bytes of a trial's standard error that are read, from its end

Processes = Annotated[int, Range(1, 1024)]


@dataclass
class _Process:
    """A trial that runs."""

    trial: Trial
    device: str
    popen: subprocess.Popen[bytes]
    stderr: IO[bytes]
    began: float = field(default_factory=time.monotonic)

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

    def end(self) -> End:
        """How it ended."""
        self.stop()
        length = self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(length - STDERR, 0))
        text = self.stderr.read().decode(errors="replace")
        self.stderr.close()
        code = self.popen.returncode
        return End(self.trial, code, why_ended(code, text) if code else "", time.monotonic() - self.began)


@dataclass(frozen=True)
class LocalEngine(Config):
    """N processes on this machine, which share its cores, and its devices in turn."""

    processes: Processes = 1
    devices: tuple[str, ...] = ()  # one for each process, in turn; none: the device of the trial's recipe

    def check(self) -> None:
        """ValueError for a device that does not exist."""
        for device in self.devices:
            cuda_index(device)

    def run(
        self, trials: Sequence[Trial], started: Callable[[Trial], object], stop: Callable[[], bool]
    ) -> Iterator[End]:
        """As `Engine.run`. A trial on which another process works waits until that ends."""
        waiting, running = list(trials), list[_Process]()
        try:
            while running or (waiting and not stop()):
                for process in [each for each in running if each.popen.poll() is not None]:
                    running.remove(process)
                    yield process.end()
                if stop():
                    for process in running:
                        process.stop()
                elif len(running) < self.processes and (trial := _next(waiting)) is not None:
                    waiting.remove(trial)
                    if trial.state() == "done":  # by the process that it waited for
                        yield End(trial, 0, "", 0.0)
                        continue
                    trial.prepare()
                    running.append(self._launch(trial, running))
                    started(trial)
                    continue
                time.sleep(PAUSE)
        finally:
            for process in running:
                process.kill()

    def _launch(self, trial: Trial, running: Sequence[_Process]) -> _Process:
        words, device = ["resume", str(trial.path)], self._device(running)
        if device:
            words += ["--prior.device", device]
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the process's end)
        popen = subprocess.Popen(
            [*WORKER, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | self._threads(),
            start_new_session=True,  # Ctrl-C is for the sweep, which stops its trials
        )
        return _Process(trial, device, popen, stderr)

    def _device(self, running: Sequence[_Process]) -> str:
        """The device with the fewest trials; "" for the recipe's."""
        busy = [process.device for process in running]
        return min(self.devices, key=busy.count, default="")

    def _threads(self) -> dict[str, str]:
        """With several processes, the share of each in the cores."""
        if self.processes == 1:
            return {}
        affinity = getattr(os, "sched_getaffinity", None)  # not on every system
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        return {"OMP_NUM_THREADS": str(max(cores // self.processes, 1))}


def _next(waiting: Sequence[Trial]) -> Trial | None:
    """The first trial that no other process works on."""
    return next((trial for trial in waiting if trial.free()), None)
