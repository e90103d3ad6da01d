"""Progress at the terminal: a bar for a run, a line for a study or a finish; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from scoredistill.runs.log import Record
from scoredistill.runs.memory import peak_memory

LINES = 20  # printed over a whole run where there is no terminal
TICK = 0.001  # seconds that steps take at least, where the clock has not moved on
PAUSE = 10.0  # seconds between the lines of a study there


class Progress:
    """Steps, rate, time left, t, gradient norm and peak memory of a run."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.start: tuple[int, float] | None = None  # steps done and the time after the first step of this process
        self.bar = _bar(steps) if sys.stdout.isatty() else None

    def __enter__(self) -> Progress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, record: Record) -> None:
        """Show the record of a finished step."""
        done = record["step"] + 1
        about = self._pace(done)
        about += f"  t {record['t']:.2f}" if "t" in record else ""
        about += f"  |grad| {record['grad_norm']:.2e}"
        memory = peak_memory()
        about += f"  {memory:.0f} MB" if memory is not None else ""
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
        rate = (done - self.start[0]) / max(now - self.start[1], TICK)
        minutes, seconds = divmod(int((self.steps - done) / rate), 60)
        return f"{rate:.2f} steps/s  {minutes}:{seconds:02d} left"


class Ticker:
    """What is being computed: one line that is overwritten on a terminal, elsewhere a line every `pause` seconds."""

    def __init__(self, pause: float = PAUSE) -> None:
        self.start, self.pause = time.monotonic(), pause
        self.printed = -pause  # when the last line was printed, after the start

    def __enter__(self) -> Ticker:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if sys.stdout.isatty():
            print()

    def __call__(self, what: str) -> None:
        """Show what is being computed."""
        now = time.monotonic() - self.start
        minutes, seconds = divmod(int(now), 60)
        line = f"{minutes}:{seconds:02d}  {what}"
        if sys.stdout.isatty():
            print(f"\r{line:40}", end="", flush=True)
        elif now - self.printed >= self.pause:
            print(line, flush=True)
            self.printed = now


def _bar(steps: int):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Rich

    columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[about]}"))
    console = Console(file=getattr(sys.stdout, "unescaped", sys.stdout))
    bar = Rich(*columns, console=console, refresh_per_second=2)
    bar.add_task("", total=steps, about="")
    return bar
