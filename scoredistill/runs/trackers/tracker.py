"""What a tracker is to a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Tracked:
    """The run that is tracked, and where it goes on."""

    folder: Path  # of the run; files of the trackers go into it
    settings: Mapping[str, Any]  # by dotted name
    first: int  # the first step of this process; later ones that a killed process has logged are void


@runtime_checkable
class Tracker(Protocol):
    """One library's log of one run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers of a step."""
        ...

    def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        """Log a picture [H W 3] of bytes."""
        ...

    def close(self) -> None:
        """Write what is still in memory."""
        ...
