"""Evaluation of runs: one row of metrics (a JSON-compatible dict) per run, and tables over many runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.evaluate import metrics
from scoredistill.evaluate.judge import COLORS, KINDS, VIEWS, Judge, Recognition, plain
from scoredistill.evaluate.part_meter import PartMeter
from scoredistill.toybox import captions

Row = dict[str, Any]
AVERAGED = (
    "similarity",
    "retrieval",
    "kind_right",
    "color_right",
    "view_right",
    "face_right",
    "face_behind",
    "parts_right",
    "sharpness",
    "saturation",
    "diverged",
)
"""The metrics that `summarize` averages over runs, if the rows have them."""


def evaluate_views(
    judge: Judge,
    rgb: Float[Tensor, "V 3 H W"],
    opacity: Float[Tensor, "V 1 H W"] | None,
    prompt: str,
    cameras: Cameras | None = None,
    others: Sequence[str] | None = None,
    meter: PartMeter | None = None,
) -> Row:
    """All metrics of one run, from views of its result and its prompt; with cameras also per view word.

    A part meter adds those of parts, if the kind of the prompt has any and there are views that ask for them: by the
    cameras, or without cameras by the view words of the prompt.

    `retrieval` is the fraction of views that are more similar to the prompt than to all `others`, by default the
    plain captions of all other toys. Pixels that are not finite are evaluated as black, and the run counts as diverged.
    """
    diverged = metrics.divergence(rgb, opacity)
    rgb = rgb.nan_to_num(0, 0, 0).clamp(0, 1)
    kind, color = expected(prompt)
    texts = [prompt, *(other_captions(prompt) if others is None else (o for o in others if o != prompt))]
    recognized, similarities = judge.recognize(rgb), judge.similarity(rgb, texts)
    right = {
        "kind": [kind == name for name in recognized.kinds],
        "color": [color == name for name in recognized.colors],
    }
    row = {
        "prompt": prompt,
        "views": len(rgb),
        "similarity": float(similarities[:, 0].mean()),
        "retrieval": metrics.retrieval_precision(similarities, similarities.new_zeros(len(rgb), dtype=torch.long)),
        "kind_right": _share(right["kind"]),
        "color_right": _share(right["color"]),
        "seen_as": _seen_as(recognized),
        "sharpness": float(metrics.sharpness(rgb).mean()),
        "saturation": float(metrics.saturation(rgb).mean()),
        "diverged": bool(diverged),
        "reason": diverged,
    }
    true = _view_words(prompt, cameras, len(rgb))
    row |= metrics.part_shares(meter, rgb, kind, true) if meter else {}
    if cameras is None:
        return row
    right["view"] = [word == name for word, name in zip(true, recognized.views, strict=True)]
    return row | {"view_right": _share(right["view"]), "by_view": _by_view(true, right)}


def _view_words(prompt: str, cameras: Cameras | None, count: int) -> list[str]:
    """The view words of each view; without cameras those of the prompt, "" if it has none."""
    if cameras is None:
        return [next((view for view in VIEWS if view in prompt.lower()), "")] * count
    angles = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
    return [captions.view_words(azimuth, elevation) for azimuth, elevation in angles]


def expected(prompt: str) -> tuple[str, str]:
    """(kind, color) of a prompt, the natural color if it names none; ValueError if it names no kind."""
    kind, color = captions.subject(prompt)
    if not kind:
        raise ValueError(f"the judge recognizes the {len(KINDS)} kinds of Toybox, and {prompt!r} names none of them")
    return kind, color or captions.NATURAL[kind]


def other_captions(prompt: str) -> list[str]:
    """The plain captions of every kind in every color, except the kind and color of the prompt."""
    own = expected(prompt)
    return [plain(kind, color) for kind in KINDS for color in COLORS if (kind, color) != own]


def set_distances(
    judge: Judge, rgb: Float[Tensor, "N 3 H W"], reference: Float[Tensor, "M 3 H W"]
) -> dict[str, metrics.Distance]:
    """Frechet and kernel distance to reference images, in the features of the judge at mean square one."""
    x, y = (mean_square_one(judge, images) for images in (rgb, reference))
    return {"frechet": metrics.frechet_distance(x, y), "kernel": metrics.kernel_distance(x, y)}


def mean_square_one(judge: Judge, rgb: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
    """The features of the judge at mean square one, which distances between sets assume."""
    features = judge.image_features(rgb)
    return features * features.shape[1] ** 0.5


def summarize(rows: Sequence[Mapping[str, Any]], by: str = "method", also: Sequence[str] = ()) -> list[Row]:
    """One row per value of `by`, in order of appearance: the number of runs, mean and sd of each metric.

    The metrics are `AVERAGED` and those named in `also`.

    sd is the sample standard deviation (n - 1), None for a single run.
    """
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    return [{by: name, "runs": len(group), **_statistics(group, (*AVERAGED, *also))} for name, group in groups.items()]


def markdown(rows: Sequence[Mapping[str, Any]], digits: int = 3) -> str:
    """A Markdown table; the columns are those of the first row, a {"mean", "sd"} cell becomes "mean ± sd"."""
    if not rows:
        return ""
    columns = [name for name, value in rows[0].items() if name != "by_view"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name, ""), digits) for name in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def _seen_as(recognized: Recognition) -> str:
    """The plain caption of the most probable kind and color over all views."""
    return plain(KINDS[int(recognized.kind.mean(0).argmax())], COLORS[int(recognized.color.mean(0).argmax())])


def _by_view(true: list[str], right: Mapping[str, list[bool]]) -> dict[str, Row]:
    table: dict[str, Row] = {}
    for view in (view for view in VIEWS if view in true):
        rows = [index for index, word in enumerate(true) if word == view]
        shares = {f"{what}_right": _share([answers[i] for i in rows]) for what, answers in right.items()}
        table[view] = {"views": len(rows), **shares}
    return table


def _statistics(group: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Row:
    table: Row = {}
    for name in names:
        known = [float(row[name]) for row in group if row.get(name) is not None]
        values = [value for value in known if math.isfinite(value)]
        if values:
            table[name] = {
                "mean": statistics.fmean(values),
                "sd": statistics.stdev(values) if len(values) > 1 else None,
            }
    return table


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, Mapping):
        spread = "" if value["sd"] is None else f" ± {value['sd']:.{digits}f}"
        return f"{value['mean']:.{digits}f}{spread}"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
