"""A sweep at the terminal: a table that is renewed in place; plain lines where there is no terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scoredistill.sweep.conduct import Tally
from scoredistill.sweep.engine import End

SHOWN = 8  # names of running trials in the table


class SweepProgress:
    """Done, running and failed trials, and the time left; a line for every trial that ended."""

    def __init__(self) -> None:
        self.tally = Tally(0)
        self.live: Live | None = None
        if sys.stdout.isatty():
            console = Console(file=getattr(sys.stdout, "unescaped", sys.stdout))
            self.live = Live(console=console, refresh_per_second=2, get_renderable=lambda: table(self.tally))

    def __enter__(self) -> SweepProgress:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, tally: Tally, end: End | None) -> None:
        """Show how far the sweep is, and how a trial ended."""
        self.tally = tally
        if end is None:
            return
        if self.live:
            self.live.console.print(Text(ended(end)))
        else:
            print(f"{ended(end)}  [{summary(tally)}]", flush=True)


def ended(end: End) -> str:
    """How an attempt ended, in a line."""
    return f"{end.trial.name}: {f'exit code {end.code}: {end.line}' if end.code else 'done'} ({end.seconds:.0f} s)"


def summary(tally: Tally) -> str:
    """How far a sweep is, in a phrase."""
    parts = [f"{tally.done} of {tally.total} done", f"{len(tally.running)} running", f"{len(tally.failed)} failed"]
    return ", ".join([*parts, f"{_time(tally.seconds_left)} left"])


def table(tally: Tally) -> Table:
    """How far a sweep is, with the names of the running trials."""
    found = Table(show_edge=False)
    for name in ("done", "running", "failed", "waiting", "time left"):
        found.add_column(name, justify="right")
    waiting = tally.total - tally.done - len(tally.running) - len(tally.failed)
    numbers = (f"{tally.done}/{tally.total}", len(tally.running), len(tally.failed), waiting)
    found.add_row(*map(str, numbers), _time(tally.seconds_left))
    found.caption = Text("\n".join(tally.running[:SHOWN]))
    return found


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
