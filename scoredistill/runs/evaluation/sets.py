"""Metrics of several results of one prompt and method, such as those of several seeds.

S results   V cameras   rgb in [0, 1]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scoredistill.evaluate import metrics
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.lpips import Lpips
from scoredistill.evaluate.metrics.metric import Priors
from scoredistill.priors.load import is_toybox
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.evaluation.references import PRIOR, Features, of_folder, of_prior
from scoredistill.runs.origin import SEED, WITHOUT_EFFECT, settings

Row = dict[str, Any]
Results = Float[Tensor, "S V 3 H W"]
Distances = Callable[[Float[Tensor, "N D"], Float[Tensor, "M D"]], metrics.Distance]
FEW = 2  # results or views, without which there is no pair and no covariance


@dataclass(frozen=True)
class Evaluated:
    """A run with its row of the table and the views that were measured, rounded to 8 bits."""

    row: Row
    recipe: Recipe
    rgb: UInt8[Tensor, "V 3 H W"]

    @property
    def results(self) -> UInt8[Tensor, "S V 3 H W"]:
        """The views of its scene; of a flat scene each image is a result by itself, all from the same camera."""
        return self.rgb[:, None] if self.recipe.flat else self.rgb[None]


@runtime_checkable
class SetMetric(Protocol):
    """Metrics of results of one prompt and method."""

    def __call__(self, results: Results, recipe: Recipe) -> dict[str, float]:
        """The values by name, without those that have no meaning for such results."""
        ...


@dataclass(frozen=True)
class PairwiseLpips:
    """The mean LPIPS of all pairs of results at the same camera."""

    network: Lpips

    def __call__(self, results: Results, recipe: Recipe) -> dict[str, float]:
        """Nothing for a single result."""
        if len(results) < FEW:
            return {}
        return {"lpips": fmean(float(self.network.pairs(view).mean()) for view in results.unbind(1))}


@dataclass(frozen=True)
class Diversity:
    """The mean distance of the judge's features at the same camera, over all pairs of results of Toybox's priors."""

    judge: Judge

    def __call__(self, results: Results, recipe: Recipe) -> dict[str, float]:
        """Nothing for a single result, and for those of other priors."""
        if len(results) < FEW or not is_toybox(recipe.prior.name):
            return {}
        return {"diversity": fmean(metrics.diversity(self.judge.image_features(view)) for view in results.unbind(1))}


class ToReference:
    """Distances of all views to reference pictures, in the features of one network.

    ValueError for a folder of fewer than two pictures, or with one that cannot be read.
    """

    def __init__(self, distances: Mapping[str, Distances], features: Features, reference: str, priors: Priors) -> None:
        self.distances, self.features = distances, features
        self.priors = priors
        self.pictures = None if reference == PRIOR else of_folder(Path(reference), features)
        self.samples: dict[tuple[Any, ...], Tensor] = {}

    def __call__(self, results: Results, recipe: Recipe) -> dict[str, float]:
        """Nothing for priors that the features do not know, and for fewer than two views."""
        rgb = results.flatten(0, 1)
        if len(rgb) < FEW or (self.priors == "toybox" and not is_toybox(recipe.prior.name)):
            return {}
        found, other = self.features(rgb), self._reference(recipe, len(rgb))
        return {name: distance(found, other).value for name, distance in self.distances.items()}

    def _reference(self, recipe: Recipe, count: int) -> Float[Tensor, "M D"]:
        """The features of the folder's pictures, or of as many samples of the prior as there are views."""
        if self.pictures is not None:
            return self.pictures
        key = (recipe.prior, recipe.prompt, count)
        if key not in self.samples:
            self.samples[key] = of_prior(recipe, count, self.features)
        return self.samples[key]


def of_sets(evaluated: Sequence[Evaluated], measures: Sequence[SetMetric]) -> list[Row]:
    """A row for each set of runs that differ in their seeds only; its values are also put into the rows of the runs.

    A metric that no set has is left out; without any there are no rows.
    """
    sets: dict[str, list[Evaluated]] = {}
    for each in evaluated:
        sets.setdefault(_same(each), []).append(each)
    values = [_values(group, measures) for group in sets.values()]
    names = dict.fromkeys(name for found in values for name in found)
    rows: list[Row] = []
    for group, found in zip(sets.values(), values, strict=True):
        about = {name: group[0].row[name] for name in ("method", "prompt")}
        of_set = {"runs": len(group)} | {name: found.get(name) for name in names}
        rows += [about | of_set] if names else []
        for each in group if names else ():
            each.row["set"] = of_set
    return rows


def _values(group: Sequence[Evaluated], measures: Sequence[SetMetric]) -> Row:
    results = torch.cat([each.results for each in group]).float() / 255
    return {name: value for metric in measures for name, value in metric(results, group[0].recipe).items()}


def _same(each: Evaluated) -> str:
    """What the runs of a set have in common: all settings but the seeds, and the size of the views."""
    ignored = (*SEED, *WITHOUT_EFFECT)
    found = {name: value for name, value in settings(each.recipe).items() if not name.startswith(ignored)}
    found["prior.name"] = Path(each.recipe.prior.name).name
    return json.dumps([found, list(each.rgb.shape[1:])], default=str)
