"""What the part meter makes of held-out toys: errors by part and kind, degraded renders, and toys without the part.

N views   P parts
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.metrics import blur, noisy, saturated
from scoredistill.evaluate.part_meter import SEEN, THRESHOLD, PartMeter
from scoredistill.evaluate.report import markdown
from scoredistill.toybox import captions, visibility
from tools.part_views import PartViews, held_out, seen

DEGRADED = {
    "as it is": lambda rgb: rgb,
    "blur of 1 pixel": lambda rgb: blur(rgb, 1),
    "blur of 1.5 pixels": lambda rgb: blur(rgb, 1.5),
    "blur of 2 pixels": lambda rgb: blur(rgb, 2),
    "blur of 3 pixels": lambda rgb: blur(rgb, 3),
    "noise of 0.05": lambda rgb: noisy(rgb, 0.05),
    "noise of 0.1": lambda rgb: noisy(rgb, 0.1),
    "half of the saturation": lambda rgb: saturated(rgb, 0.5),
    "gray": lambda rgb: saturated(rgb, 0),
}
WITHOUT = {"face": (0,), "eyes": (0, 1), "nose": (2,), "hat": (3,), "buttons": (4,)}
"""What is removed, of `visibility.PARTS`, so that a part of SEEN is gone: of a face the left eye."""


def report(meter: PartMeter, views: PartViews) -> str:
    """Markdown tables of the held-out views, for the card."""
    count = held_out(len(views))
    given = views[np.arange(len(views) - count, len(views))]
    whole, without = given[:, 0], given[:, 1:]
    truth = seen(visibility.visible(whole, without))
    said = meter.probabilities(whole) > THRESHOLD
    described = views.descriptions[-count:]
    front = views.front[-count:]
    tables = [
        (
            "By part, in any direction:",
            [{"part": part, **errors(said[:, i], truth[:, i])} for i, part in enumerate(SEEN)],
        ),
        ("Faces by kind, in front views of single toys:", by_kind(said[:, 0], truth[:, 0], described, front)),
        ("The part removed, of the views in which it is visible; of a face, the left eye:", pairs(meter, given, truth)),
        ("Front views that show a face, degraded:", degradations(meter, given, front & truth[:, 0])),
    ]
    return "".join(f"{title}\n\n{markdown(rows)}\n" for title, rows in tables)


def errors(said: Bool[Tensor, "N"], truth: Bool[Tensor, "N"]) -> dict[str, Any]:
    """Accuracy, and the shares of false positives among what is not visible and of false negatives among what is."""
    return {
        "views": len(truth),
        "visible": _share(truth),
        "accuracy": _share(said == truth),
        "false positives": _share(said[~truth]),
        "false negatives": _share(~said[truth]),
    }


def by_kind(
    said: Bool[Tensor, "N"], truth: Bool[Tensor, "N"], described: list[captions.Description], front: Bool[Tensor, "N"]
) -> list[dict[str, Any]]:
    """`errors` of the front views of each kind, and of those without eyes together."""
    kinds = [each.kind if each.kind in visibility.EYES else "others" for each in described]
    single = torch.tensor([not each.composed for each in described])
    rows = []
    for kind in (*visibility.EYES, "others"):
        chosen = front & single & torch.tensor([each == kind for each in kinds])
        rows.append({"kind": kind, **errors(said[chosen], truth[chosen])})
    return rows


def pairs(meter: PartMeter, given: Float[Tensor, "N Q 3 64 64"], truth: Bool[Tensor, "N P"]) -> list[dict[str, Any]]:
    """How often a part is seen in the views that show it, and in the same views without it."""
    rows = []
    for index, (part, gone) in enumerate(WITHOUT.items()):
        shown = given[truth[:, index]]
        bare = shown[:, 0] + sum(shown[:, 1 + each] - shown[:, 0] for each in gone)
        rows.append(
            {
                "part": part,
                "pairs": len(shown),
                "seen": _share(meter.sees(shown[:, 0], part)),
                "seen without it": _share(meter.sees(bare, part)),
            }
        )
    return rows


def degradations(
    meter: PartMeter, given: Float[Tensor, "N Q 3 64 64"], chosen: Bool[Tensor, "N"]
) -> list[dict[str, Any]]:
    """Of views that show a face: how often it is still seen, and is still visible by the truth, in degraded ones."""
    given = given[chosen]
    rows = []
    for name, degrade in DEGRADED.items():
        whole = degrade(given[:, 0])
        without = degrade(given[:, 1:].flatten(0, 1)).unflatten(0, given[:, 1:].shape[:2])
        # noise is in the picture only: it hides a part and is none
        smooth = given[:, 0] if name.startswith("noise") else whole
        rest = given[:, 1:] if name.startswith("noise") else without
        rows.append(
            {
                "picture": name,
                "views": len(whole),
                "visible": _share(seen(visibility.visible(smooth, rest))[:, 0]),
                "seen": _share(meter.sees(whole)),
                "mean probability": float(meter.probabilities(whole)[:, 0].mean()),
            }
        )
    return rows


def _share(answers: Bool[Tensor, "N"]) -> float:
    """The mean; nan of none."""
    return float(answers.float().mean())
