"""A run at the terminal: what a person sees and presses while it goes."""

from __future__ import annotations

import resource
import signal
import sys
import time
from types import FrameType, TracebackType

import torch

from scoredistill.artifacts import DivergedError, finish, salvage
from scoredistill.fidelity import in_words
from scoredistill.folder import Record, RunFolder
from scoredistill.journal import record
from scoredistill.parts import Parts

LINES = 20  # printed over a whole run where there is no terminal to draw a bar on
PAUSE = 10.0  # seconds between the lines of a study there


class RunFailedError(Exception):
    """The run itself failed; everything so far is saved, and the message says where."""


class StoppedError(Exception):
    """A person or the system stopped the run; `code` is the exit code that says which."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def drive(folder: RunFolder, parts: Parts) -> None:
    """Run to the end and make everything of it, showing how it goes.

    Raises RunFailedError or StoppedError, with everything so far saved.
    """
    with Signals() as signals:
        try:
            done = _steps(folder, parts, signals)
        except (FloatingPointError, OSError) as error:
            raise RunFailedError(f"{reason(error)}; {salvage(folder, parts.scene, error)}") from error
        again = f"go on with: scoredistill resume {folder.path}"
        if signals.terminated:
            raise StoppedError(f"stopped after step {done} of {parts.steps}; {again}", 143)
        if signals.interrupted:
            print("finishing with what there is; Ctrl-C once more stops at once", flush=True)
        try:
            metrics = finish(folder, parts.scene)
        except (DivergedError, OSError) as error:
            raise RunFailedError(f"{reason(error)}; {folder.path} holds everything else") from error
        if "mesh_psnr" in metrics:
            print(f"{folder / 'mesh.glb'}: {in_words(metrics)}")
        print(folder / "index.html")
        if done < parts.steps:
            raise StoppedError(f"finished early, after step {done} of {parts.steps}; {again}", 130)


def _steps(folder: RunFolder, parts: Parts, signals: Signals) -> int:
    """Take the steps; returns how many of the run are done."""
    done = parts.steps
    with Progress(parts.steps) as show:
        for entry in record(folder, parts, signals.asked):
            show(entry)
            done = entry["step"] + 1
    return done


def reason(error: BaseException) -> str:
    """What an error says, without numbers of the system's."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return str(error)


class Signals:
    """The first Ctrl-C, or SIGTERM, asks the run to stop after its step; a second Ctrl-C stops it at once."""

    def __init__(self) -> None:
        self.interrupted = self.terminated = False

    def asked(self) -> bool:
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


class Progress:
    """Steps, rate, time left, t, gradient norm, peak memory: a bar on a terminal, elsewhere a few lines."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.start: tuple[int, float] | None = None  # steps done and the time after the first step that was seen
        self.bar = _bar(steps) if sys.stdout.isatty() else None

    def __enter__(self) -> Progress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, record: Record) -> None:
        """Show the record of a step that is done."""
        done = record["step"] + 1
        about = self._pace(done)
        about += f"  t {record['t']:.2f}" if "t" in record else ""
        about += f"  |grad| {record['grad_norm']:.2e}  {peak_memory():.0f} MB"
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=done, about=about)
        elif done == self.steps or done % max(self.steps // LINES, 1) == 0:
            print(f"step {done}/{self.steps}  {about}", flush=True)

    def _pace(self, done: int) -> str:
        """Rate and time left; the first step warms up and does not count."""
        now = time.monotonic()
        if self.start is None:
            self.start = done, now
            return "-.-- steps/s  -:-- left"
        rate = (done - self.start[0]) / (now - self.start[1])
        minutes, seconds = divmod(int((self.steps - done) / rate), 60)
        return f"{rate:.2f} steps/s  {minutes}:{seconds:02d} left"


class Ticker:
    """How a study goes: one line that is written over on a terminal, elsewhere a line in `PAUSE` seconds."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.said = -PAUSE  # when the last line was printed, after the start

    def __enter__(self) -> Ticker:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if sys.stdout.isatty():
            print()

    def __call__(self, what: str) -> None:
        """Hear what is being made."""
        now = time.monotonic() - self.start
        minutes, seconds = divmod(int(now), 60)
        line = f"{minutes}:{seconds:02d}  {what}"
        if sys.stdout.isatty():
            print(f"\r{line:40}", end="", flush=True)
        elif now - self.said >= PAUSE:
            print(line, flush=True)
            self.said = now


def _bar(steps: int):
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Rich

    columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[about]}"))
    bar = Rich(*columns, refresh_per_second=2)
    bar.add_task("", total=steps, about="")
    return bar


def peak_memory() -> float:
    """Most memory held so far, in MB: the GPU's where one is used, else the process's."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
