"""Guidance and times of the SDI paper, carried from Stable Diffusion to Toybox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scoredistill.contracts import Method
from scoredistill.methods.method import carried_time
from scoredistill.methods.sdi import SDI

PAPER_SCALE, SCALE = 7.5, 2.5
"""The paper's guidance scale, and the one that gives as good samples on Toybox, where 7.5 over-saturates."""
WINDOW: dict[str, Any] = {"t_min": carried_time(0.02), "t_max": carried_time(0.98)}
"""The official 2D notebook's times: an image is sharp only if t falls almost to 0."""
SCALES = f"Guidance of ±{PAPER_SCALE} in the paper is ±{SCALE} here: on this small prior 7.5 over-saturates."
TIMES = "Times are those at which Toybox's images are as noisy as Stable Diffusion's at the paper's."


def here(scale: float) -> float:
    """A guidance scale of the paper in Toybox's terms; 0 and 1, which leave guidance out, stay themselves."""
    return scale if scale in (0.0, 1.0) else scale * SCALE / PAPER_SCALE


def times(paper: Sequence[float]) -> list[float]:
    """Times of the paper in Toybox's terms."""
    return [carried_time(t) for t in paper]


def sdi_2d(**settings: Any) -> Method:
    """SDI in 2D: Toybox's guidance, the times of the official notebook, all else as in 3D, but for `settings`."""
    own = {"scale": SCALE, "inversion_scale": -SCALE, "inversion_start": SDI.TOYBOX["inversion_start"]}
    return SDI(**{**own, **WINDOW, **settings})
