"""The engine of this machine: some processes at a time, a fresh one for each trial."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from scoredistill.config import Config, Range
from scoredistill.recipes.recipe import cuda_index
from scoredistill.sweep.engine import End
from scoredistill.sweep.process import Attempt, threads
from scoredistill.sweep.trial import Trial

PAUSE = 0.05  # seconds between two checks of the processes

Processes = Annotated[int, Range(1, 1024)]


@dataclass(frozen=True)
class LocalEngine(Config):
    """N processes on this machine, which share its cores, and its devices in turn."""

    processes: Processes = 1
    devices: tuple[str, ...] = ()  # one for each process, in turn; none: the device of the trial's recipe

    def check(self) -> None:
        """ValueError for a device that no machine has."""
        for device in self.devices:
            cuda_index(device)

    def run(
        self, trials: Sequence[Trial], started: Callable[[Trial], object], stop: Callable[[], bool]
    ) -> Iterator[End]:
        """As `Engine.run`. A trial on which another process works waits until that ends."""
        waiting, running = list(trials), dict[Attempt, tuple[Trial, str]]()
        try:
            while running or (waiting and not stop()):
                for attempt in [each for each in running if not each.running]:
                    trial, _ = running.pop(attempt)
                    yield End(trial, *attempt.end())
                if stop():
                    for attempt in running:
                        attempt.stop()
                elif len(running) < self.processes and (trial := _next(waiting)) is not None:
                    waiting.remove(trial)
                    if trial.state() == "done":  # by the process that it waited for
                        yield End(trial, 0, "", 0.0)
                        continue
                    trial.prepare()
                    device = self._device([device for _, device in running.values()])
                    running[Attempt.launch(trial.words(device), self._threads())] = (trial, device)
                    started(trial)
                    continue
                time.sleep(PAUSE)
        finally:
            for attempt in running:
                attempt.kill()

    def _device(self, busy: Sequence[str]) -> str:
        """The device with the fewest trials; "" for the recipe's."""
        return min(self.devices, key=busy.count, default="")

    def _threads(self) -> dict[str, str]:
        """With several processes, the share of each in the cores."""
        if self.processes == 1:
            return {}
        affinity = getattr(os, "sched_getaffinity", None)  # not on every system
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        return threads(cores // self.processes)


def _next(waiting: Sequence[Trial]) -> Trial | None:
    """The first trial that no other process works on."""
    return next((trial for trial in waiting if trial.free()), None)
