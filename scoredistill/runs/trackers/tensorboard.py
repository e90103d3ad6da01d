"""TensorBoard: an event file in `tensorboard/` of the run folder, for `tensorboard --logdir runs`."""

from __future__ import annotations

import io
import os
import platform
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from scoredistill.files import append
from scoredistill.runs.trackers.tracker import Tracked

FOLDER = "tensorboard"
VERSION = "brain.Event:2"  # of the format of event files


class TensorBoard:
    """Events, each of which is on the disk when the call returns.

    SummaryWriter writes in a thread of its own, which prints a traceback where the disk refuses.
    """

    def __init__(self, run: Tracked) -> None:
        from tensorboard.compat.proto import event_pb2
        from torch.utils.tensorboard import summary

        self.summary: Any = summary
        self.proto: Any = event_pb2
        folder = run.folder / FOLDER
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 1000:016d}.{platform.node()}.{os.getpid()}"
        self.file = folder / name  # readers take the files of a folder in the order of their names
        start = self.proto.SessionLog(status=self.proto.SessionLog.START)
        self._add(run.first, file_version=VERSION)
        self._add(run.first, session_log=start)  # readers drop later steps
        table = "\n".join(f"    {name}: {value}" for name, value in run.settings.items())  # indented: not markdown
        self._add(run.first, summary=summary.text("settings", table))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._add(step, summary=self.summary.scalar(name, value))

    def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        self._add(step, summary=self.summary.image(name, rgb, dataformats="HWC"))

    def close(self) -> None:
        pass  # no file is open between two calls

    def _add(self, step: int, **content: Any) -> None:
        """Append an event."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        event, written = self.proto.Event(wall_time=time.time(), step=step, **content), io.BytesIO()
        RecordWriter(written).write(event.SerializeToString())
        append(self.file, written.getvalue())
