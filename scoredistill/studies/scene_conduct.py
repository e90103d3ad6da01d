"""A study in 3D from its finished runs to its folder: measurements, table, verdict, pictures.

C captions   S seeds   V views
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Needs
from scoredistill.evaluate.judge import Judge
from scoredistill.export.images import grid
from scoredistill.export.sheet import Sheet
from scoredistill.studies.estimates import conclude
from scoredistill.studies.scene_measures import Meter, Result, diversity
from scoredistill.studies.scene_study import SIDES, SceneStudy, Settings, Values, planned, stacked
from scoredistill.studies.study import Finding, Row
from scoredistill.studies.terms import Terms

PILOT = 2  # captions by whose runs the number of pairs is planned

Views = Float[Tensor, "C S V 3 H W"]


@dataclass(frozen=True)
class Runs:
    """The runs of a study: every arm with every caption and seed."""

    study: SceneStudy
    arms: Mapping[str, Settings]
    captions: Sequence[str]
    seeds: int

    @classmethod
    def of(cls, study: SceneStudy, needs: Needs, captions: Sequence[str], seeds: int) -> Runs:
        """The runs of a study on a prior with these needs."""
        return cls(study, study.arms(Terms(needs.published)), captions, seeds)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """(arm, caption, seed) of every run, in the order of a sweep's list, prompts and seeds."""
        return product(self.arms, range(len(self.captions)), range(self.seeds))


@dataclass(frozen=True)
class Found:
    """What was measured of the runs of a study."""

    runs: Runs
    values: Mapping[str, Values]  # by arm
    views: Mapping[str, Views]
    folders: Mapping[tuple[str, int, int], Path]  # by arm, caption and seed

    @property
    def pilot(self) -> Mapping[str, Values]:
        """The values of the first captions only."""
        return {arm: {name: table[:PILOT] for name, table in found.items()} for arm, found in self.values.items()}


def gathered(
    runs: Runs, folders: Sequence[Path], cache: Path, protocol: str, progress: Callable[[str], object]
) -> Found:
    """Measure the runs in `folders`, in the order of `Runs`; ValueError where an arm has no result at all."""
    by_key = dict(zip(runs, folders, strict=True))
    meter, results = Meter(protocol=protocol, further=runs.study.further), dict[tuple[str, int, int], Result]()
    for key, folder in by_key.items():
        progress(f"measuring {folder.name}")
        if (result := meter(folder, cache)) is not None:
            results[key] = result
    values: dict[str, Values] = {}
    views: dict[str, Views] = {}
    for arm in runs.arms:
        own = {key[1:]: result for key, result in results.items() if key[0] == arm}
        if not own:
            raise ValueError(f"no run of {arm!r} finished: see the messages of the sweep")
        size = len(runs.captions), runs.seeds
        views[arm] = _pictures(own, *size)
        table = stacked({key: result.values for key, result in own.items()}, *size)
        values[arm] = {**table, "diversity": apart(meter.judge, own, len(runs.captions))}
    return Found(runs, values, views, by_key)


def concluded(found: Found) -> Finding:
    """The verdict on a study, its table and pictures."""
    study = found.runs.study
    holds, because = conclude(*(statement.part(found.values) for statement in study.statements))
    return Finding(
        holds,
        because,
        rows=[row(arm, values, study.metrics) for arm, values in found.values.items()],
        sheets={
            "Front, side and back, the first seed of each caption": _sides(found),
            "The front of every seed": _seeds(found),
            **(study.sheets(found) if study.sheets else {}),
        },
        settings={arm: str(dict(settings)) for arm, settings in found.runs.arms.items()}
        | {"pairs for the effects, by the first captions": planned(study, found.pilot)},
        remarks=study.remarks,
    )


def row(arm: str, values: Values, names: Sequence[str] = ()) -> Row:
    """The row of an arm: for each metric the mean and the standard deviation over runs."""
    cells: dict[str, Any] = {"": arm}
    for name in [each for each in names or values if each in values]:
        known = values[name][values[name].isfinite()]
        if len(known):
            spread = float(known.std()) if len(known) > 1 else None
            cells[name] = {"mean": float(known.mean()), "sd": spread, "n": len(known)}
    return cells


def apart(judge: Judge, results: Mapping[tuple[int, int], Result], captions: int) -> Float[Tensor, "C 1"]:
    """The diversity of the results of each caption, by (caption, seed); NaN for fewer than two."""
    found = []
    for caption in range(captions):
        views = [result.views for (place, _), result in results.items() if place == caption]
        found.append(diversity(judge, torch.stack(views).float() / 255) if len(views) > 1 else math.nan)
    return torch.tensor(found, dtype=torch.float64)[:, None]


def _pictures(results: Mapping[tuple[int, int], Result], captions: int, seeds: int) -> Views:
    """The views of all runs; black where a run has none."""
    blank = torch.zeros_like(next(iter(results.values())).views)
    every = [results[key].views if key in results else blank for key in product(range(captions), range(seeds))]
    return torch.stack(every).unflatten(0, (captions, seeds)).float() / 255


def _sides(found: Found) -> Sheet:
    cells = [
        torch.stack([grid(views[list(SIDES)], columns=len(SIDES), gap=2) for views in each[:, 0]])
        for each in found.views.values()
    ]
    return Sheet(torch.stack(cells, 1), found.runs.captions, tuple(found.views))


def _seeds(found: Found) -> Sheet:
    cells = [torch.stack([grid(fronts, gap=2) for fronts in each[:, :, 0]]) for each in found.views.values()]
    return Sheet(torch.stack(cells, 1), found.runs.captions, tuple(found.views))
