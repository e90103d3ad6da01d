"""From pictures to numbers to tables: one row (a dict that JSON can hold) for a run, one table for many."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.evaluate import metrics
from scoredistill.evaluate.judge import COLORS, KINDS, VIEWS, Judge, Recognition, plain
from scoredistill.toybox import captions

Row = dict[str, Any]
AVERAGED = ("similarity", "retrieval", "kind_right", "color_right", "view_right", "sharpness", "diverged")
"""What `summarize` averages over runs, where the rows have it."""


def evaluate_views(
    judge: Judge,
    rgb: Float[Tensor, "V 3 H W"],
    opacity: Float[Tensor, "V 1 H W"] | None,
    prompt: str,
    cameras: Cameras | None = None,
    others: Sequence[str] | None = None,
) -> Row:
    """All metrics of one run, from views of its result and its prompt; with cameras also by view words.

    `retrieval` is the share of views to which the prompt is nearer than all `others`, by default the plain
    captions of all other toys. Pixels that are not finite are judged as black and make the run diverged.
    """
    diverged = metrics.divergence(rgb, opacity)
    rgb = rgb.nan_to_num(0, 0, 0).clamp(0, 1)
    kind, color = expected(prompt)
    texts = [prompt, *(other_captions(prompt) if others is None else (o for o in others if o != prompt))]
    seen, similarities = judge.recognize(rgb), judge.similarity(rgb, texts)
    right = {
        "kind": [kind == name for name in seen.kinds],
        "color": [color == name for name in seen.colors],
    }
    row = {
        "prompt": prompt,
        "views": len(rgb),
        "similarity": float(similarities[:, 0].mean()),
        "retrieval": metrics.retrieval_precision(similarities, similarities.new_zeros(len(rgb), dtype=torch.long)),
        "kind_right": _share(right["kind"]),
        "color_right": _share(right["color"]),
        "seen_as": _seen_as(seen),
        "sharpness": float(metrics.sharpness(rgb).mean()),
        "diverged": bool(diverged),
        "reason": diverged,
    }
    if cameras is None:
        return row
    angles = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
    true = [captions.view_words(azimuth, elevation) for azimuth, elevation in angles]
    right["view"] = [word == name for word, name in zip(true, seen.views, strict=True)]
    return row | {"view_right": _share(right["view"]), "by_view": _by_view(true, right)}


def expected(prompt: str) -> tuple[str, str]:
    """(kind, color) a prompt asks for, the natural color if it names none; ValueError without a kind."""
    kind, color = captions.subject(prompt)
    if not kind:
        raise ValueError(f"the judge knows Toybox's {len(KINDS)} kinds, and {prompt!r} names none of them")
    return kind, color or captions.NATURAL[kind]


def other_captions(prompt: str) -> list[str]:
    """The plain captions of every kind in every color, but for the prompt's own kind in its own color."""
    return [plain(kind, color) for kind in KINDS for color in COLORS if (kind, color) != expected(prompt)]


def set_distances(
    judge: Judge, rgb: Float[Tensor, "N 3 H W"], reference: Float[Tensor, "M 3 H W"]
) -> dict[str, metrics.Distance]:
    """Frechet and kernel distance to reference pictures, in the judge's features at mean square one."""
    x, y = (judge.image_features(pictures) for pictures in (rgb, reference))
    x, y = x * x.shape[1] ** 0.5, y * y.shape[1] ** 0.5
    return {"frechet": metrics.frechet_distance(x, y), "kernel": metrics.kernel_distance(x, y)}


def summarize(rows: Sequence[Mapping[str, Any]], by: str = "method") -> list[Row]:
    """One row per value of `by`, in order of appearance: how many runs, each metric's mean and sd.

    The sd is the sample's (n - 1), and None for a single run.
    """
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    return [{by: name, "runs": len(group), **_statistics(group)} for name, group in groups.items()]


def markdown(rows: Sequence[Mapping[str, Any]], digits: int = 3) -> str:
    """A Markdown table of rows; the columns are the first row's, a {"mean", "sd"} cell reads "mean ± sd"."""
    if not rows:
        return ""
    columns = [name for name, value in rows[0].items() if name != "by_view"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name, ""), digits) for name in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def _seen_as(seen: Recognition) -> str:
    """What the judge calls the object, all views together."""
    return plain(KINDS[int(seen.kind.mean(0).argmax())], COLORS[int(seen.color.mean(0).argmax())])


def _by_view(true: list[str], right: Mapping[str, list[bool]]) -> dict[str, Row]:
    table: dict[str, Row] = {}
    for view in (view for view in VIEWS if view in true):
        here = [index for index, word in enumerate(true) if word == view]
        shares = {f"{what}_right": _share([answers[i] for i in here]) for what, answers in right.items()}
        table[view] = {"views": len(here), **shares}
    return table


def _statistics(group: Sequence[Mapping[str, Any]]) -> Row:
    table: Row = {}
    for name in AVERAGED:
        values = [float(row[name]) for row in group if row.get(name) is not None]
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
