"""A run at the terminal, from its first step to its finished folder."""

from __future__ import annotations

from scoredistill.cli.progress import Progress
from scoredistill.cli.signals import Signals
from scoredistill.recipes.build import Parts
from scoredistill.recipes.command import command_line
from scoredistill.runs.finish import DivergedError, finish, salvage
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.journal import record
from scoredistill.runs.mesh_metrics import in_words


class RunFailedError(Exception):
    """The run itself failed; everything so far is saved, and the message says where."""


class StoppedError(Exception):
    """A person or the system stopped the run; `code` is the exit code that says which."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def drive(folder: RunFolder, parts: Parts) -> None:
    """Run to the end and write all results, with progress.

    Raises RunFailedError or StoppedError, with everything so far saved.
    """
    steps = folder.recipe.training.steps
    with Signals() as signals:
        try:
            done = _steps(folder, parts, signals)
        except (FloatingPointError, OSError) as error:
            raise RunFailedError(f"{reason(error)}; {salvage(folder, parts.scene, error)}") from error
        again = f"go on with: {command_line('resume', folder.path)}"
        if signals.terminated:
            raise StoppedError(f"stopped after step {done} of {steps}; {again}", 143)
        if signals.interrupted:
            print("finishing with what there is; Ctrl-C once more stops at once", flush=True)
        try:
            metrics = finish(folder, parts.scene)
        except (DivergedError, OSError) as error:
            raise RunFailedError(f"{reason(error)}; {folder.path} holds everything else") from error
        if "mesh_psnr" in metrics:
            print(f"{folder / 'mesh.glb'}: {in_words(metrics)}")
        print(folder / "index.html")
        if done < steps:
            raise StoppedError(f"finished early, after step {done} of {steps}; {again}", 130)


def _steps(folder: RunFolder, parts: Parts, signals: Signals) -> int:
    """Take the steps; returns how many of the run are done."""
    steps = done = folder.recipe.training.steps
    with Progress(steps) as show:
        for entry in record(folder, parts, signals.stop_requested):
            show(entry)
            done = entry["step"] + 1
    return done


def reason(error: BaseException) -> str:
    """The message of an error, without the system's numbers."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return str(error)
