"""A run at the terminal, from its first step to its finished folder."""

from __future__ import annotations

import gc
import traceback
from dataclasses import dataclass
from typing import Any

import torch

from scoredistill.cli.progress import Progress, Ticker
from scoredistill.cli.reason import run_reason
from scoredistill.cli.signals import Signals
from scoredistill.recipes.build import Parts
from scoredistill.recipes.command import command_line
from scoredistill.runs.evaluation.mesh_metrics import in_words
from scoredistill.runs.finish import finish, salvage
from scoredistill.runs.folder import PAGE, RunFolder
from scoredistill.runs.journal import record
from scoredistill.runs.log import Record
from scoredistill.runs.trackers import Trackers
from scoredistill.viewer.live import Live


class RunFailedError(Exception):
    """The run itself failed; everything so far is saved, and the message says where."""


class StoppedError(Exception):
    """A person or the system stopped the run; `code` is the exit code that says which."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Watchers:
    """Who follows a run: signals, trackers, and a page in the browser where one was asked for."""

    signals: Signals
    trackers: Trackers
    live: Live | None

    def step(self, entry: Record) -> None:
        """A step is done."""
        if self.live is not None:
            self.live(entry)

    def part(self, name: str) -> None:
        """A part of the results is being written."""
        if self.live is not None:
            self.live.finishing(name)


def drive(folder: RunFolder, parts: Parts, *, accept: bool = False, server: Any = None) -> None:
    """Run to the end and write all results, with progress; `accept` changes of what the run depends on.

    The run is shown by `server`, where there is one (see `viewer.server`).
    Raises RunFailedError or StoppedError, with everything so far saved.
    """
    again = f"go on with: {command_line('resume', folder.path)}"
    with folder.held(), Signals() as signals, Trackers(folder) as trackers:
        live = server and Live(server, folder, parts.scene, signals.request_stop, signals.stop_requested)
        try:
            _run(folder, parts, Watchers(signals, trackers, live), again, accept)
        except KeyboardInterrupt:
            raise StoppedError(f"stopped at once; {again}", signals.code) from None


def _run(folder: RunFolder, parts: Parts, watchers: Watchers, again: str, accept: bool) -> None:
    steps, signals = folder.recipe.training.steps, watchers.signals
    done = _steps(folder, parts, watchers, accept)
    if signals.ended:
        raise StoppedError(f"stopped after step {done} of {steps}; {again}", signals.code)
    if signals.stop_requested():
        print("finishing with what there is; Ctrl-C once more stops at once", flush=True)
    signals.notice = "the results are written first; Ctrl-C once more stops at once"
    try:
        with Ticker(pause=0) as ticker:

            def show(part: str) -> None:
                ticker(part)
                watchers.part(part)

            metrics = finish(folder, parts.scene, show=show)
    except Exception as error:
        raise RunFailedError(f"{run_reason(error)}; {folder.path} holds everything else") from error
    watchers.trackers.pictures(done - 1, {"preview": folder / "preview.png"})
    if "mesh_psnr" in metrics:
        print(f"{folder / 'mesh.glb'}: {in_words(metrics)}")
    print(folder / PAGE)
    if done < steps:
        raise StoppedError(f"finished early, after step {done} of {steps}; {again}", signals.code)


def _steps(folder: RunFolder, parts: Parts, watchers: Watchers, accept: bool) -> int:
    """Take the steps; returns how many of the run are done."""
    steps, done, stop = folder.recipe.training.steps, None, watchers.signals.stop_requested
    try:
        with Progress(steps) as show:
            for entry in record(folder, parts, stop, accept=accept, trackers=watchers.trackers):
                show(entry)
                done = entry["step"] + 1
                watchers.step(entry)
    except Exception as error:
        if done is None and isinstance(error, ValueError):
            raise  # about what is read before the first step, such as a checkpoint
        why = run_reason(error)
        _free(error)
        raise RunFailedError(f"{why}; {salvage(folder, parts.scene, why)}") from error
    return steps if done is None else done


def _free(error: BaseException) -> None:
    """Free the memory of the step that failed, which the error's traceback holds."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
