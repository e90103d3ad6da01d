"""trackio: its local database, which `trackio show` reads (TRACKIO_DIR says where; by default in the user's cache).

All runs share it, as one page compares them. Nothing is sent unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping

import numpy as np

from scoredistill.runs.trackers.tracker import Tracked

PROJECT = "scoredistill"


class Trackio:
    """A run of trackio, named by its folder; steps that an earlier process has logged are not logged twice."""

    def __init__(self, run: Tracked) -> None:
        with _quiet():
            import trackio
            from trackio.sqlite_storage import SQLiteStorage

            name = run_name(run)
            self.run = trackio.init(
                project=PROJECT,
                name=name,
                config=dict(run.settings),
                resume="allow" if run.first else "never",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
            last = SQLiteStorage.get_max_step_for_run(PROJECT, name, run_id=self.run.id) if run.first else None
        self.next = 0 if last is None else last + 1

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if step >= self.next:
            self.run.log(dict(values), step=step)

    def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        import trackio

        if step >= self.next:
            self.run.log({name: trackio.Image(rgb)}, step=step)

    def close(self) -> None:
        import trackio

        with _quiet():
            trackio.finish()


def run_name(run: Tracked) -> str:
    """The folder's name with a digest of its place: folders of one name in two places are two runs."""
    return f"{run.folder.name}-{hashlib.sha256(str(run.folder).encode()).hexdigest()[:6]}"


@contextlib.contextmanager
def _quiet():
    """Within the context nothing is printed."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
