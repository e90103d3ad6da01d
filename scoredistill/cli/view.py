"""Views in the browser: the command, and the server of a run that is watched while it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from scoredistill.cli.signals import Signals
from scoredistill.config import Config
from scoredistill.viewer.server import Port, address, local_server, stop
from scoredistill.viewer.watch import Watch


@dataclass(frozen=True)
class View(Config):
    """View a run in the browser: finished, interrupted, or running in another process."""

    folder: Positional[Path]  # folder of the run
    port: Port | None = None  # port of the page on 127.0.0.1; by default 8080 or the next free port

    def __call__(self) -> None:
        with Signals() as signals, serving(self.port, self.folder.absolute().name) as server:
            watch = Watch(self.folder, server)
            print(f"{address(server)}  (Ctrl-C ends the view)", flush=True)
            watch.run(signals.stop_requested)


@contextlib.contextmanager
def watching(command: Any, label: str) -> Iterator[Any]:
    """The server of a command with --view, whose address is printed; None without the flag."""
    if not command.view:
        if command.port is not None:
            raise ValueError("port has no effect without a page: add --view")
        yield None
        return
    with serving(command.port, label) as server:
        print(f"watch the run at {address(server)}", flush=True)
        yield server


@contextlib.contextmanager
def serving(port: int | None, label: str) -> Iterator[Any]:
    """A server for this block; ValueError in one line where viser is not installed or the port is in use."""
    server = local_server(port, label)
    try:
        yield server
    finally:
        stop(server)
