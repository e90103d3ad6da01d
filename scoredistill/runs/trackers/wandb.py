"""Weights & Biases: files in `wandb/` of the run folder; nothing is sent unless the environment says so.

With WANDB_API_KEY or WANDB_MODE=online in the environment the run is sent as it goes on; else `wandb sync` can send it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from scoredistill.runs.trackers.tracker import Tracked

FOLDER = "wandb"
PROJECT = "scoredistill"
SILENT = logging.CRITICAL + 1
STARTED = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(\w+)")


class WandB:
    """A run of wandb; all processes that go on with one run folder share its id."""

    def __init__(self, run: Tracked) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # of its own errors, to its makers
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        settings = wandb.Settings(
            mode=mode,  # type: ignore[arg-type]
            silent=True,
            console="off",
            symlink=False,
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        known = _earlier_id(run.folder)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(run.folder),
            id=known,
            resume="allow" if known else None,
            name=run.folder.name,
            config=dict(run.settings),
            settings=settings,
        )
        for handler in logging.getLogger("wandb").handlers:
            handler.setLevel(SILENT)  # of its debug.log: on a full disk logging prints a traceback for every line

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        with _without_lost_service():
            self.run.log(dict(values), step=step)

    def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        import wandb

        with _without_lost_service():
            self.run.log({name: wandb.Image(rgb)}, step=step)

    def close(self) -> None:
        with _without_lost_service():
            self.run.finish()


@contextlib.contextmanager
def _without_lost_service() -> Iterator[None]:
    """If wandb's own process is lost within the context, forget it: at exit wandb would print a traceback about it."""
    try:
        yield
    except OSError:
        import wandb

        with contextlib.suppress(OSError):
            wandb.teardown()
        raise


def _earlier_id(folder: Path) -> str | None:
    """The id of the run in this folder, from the names of wandb's folders in it."""
    found = [match[1] for path in sorted((folder / FOLDER).glob("*run-*")) if (match := STARTED.fullmatch(path.name))]
    return found[-1] if found else None
