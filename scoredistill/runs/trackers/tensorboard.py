"""TensorBoard: event files in `tensorboard/` of the run folder, for `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scoredistill.runs.trackers.tracker import Tracked

FOLDER = "tensorboard"


class TensorBoard:
    """A writer of events, which reach the disk with each step."""

    def __init__(self, run: Tracked) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(run.folder / FOLDER), purge_step=run.first)  # readers drop later steps
        table = "\n".join(f"    {name}: {value}" for name, value in run.settings.items())  # indented: not markdown
        self.writer.add_text("settings", table, run.first)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        self.writer.add_image(name, rgb, step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()
