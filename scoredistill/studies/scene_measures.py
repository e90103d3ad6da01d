"""What is measured of a finished run of a study in 3D, and remembered beside it.

V views   H W pixels
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scoredistill.config import to_plain
from scoredistill.evaluate import metrics
from scoredistill.evaluate.geometry import Shape, family, nearest, toys
from scoredistill.evaluate.judge import VIEWS, Judge
from scoredistill.evaluate.metrics.patches import SIZE, Quantiles, distance, patches
from scoredistill.evaluate.report import expected
from scoredistill.priors.load import is_toybox
from scoredistill.recipes.build import background_color
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs import checkpoint
from scoredistill.runs.evaluation.measures import Measures
from scoredistill.runs.evaluation.protocol import PROTOCOLS, measured_views
from scoredistill.runs.evaluation.scene_metrics import measured
from scoredistill.runs.finish import open_3d_scene
from scoredistill.runs.folder import CHECKPOINTS, metrics_in
from scoredistill.runs.renders import render_views
from scoredistill.studies.cache import remembered
from scoredistill.studies.finished import Finished, Further, metrics_of
from scoredistill.toybox import render
from scoredistill.toybox.captions import CANONICAL_FRONT

JUDGED = ("similarity", "kind_right", "color_right", "view_right", "sharpness", "saturation", "diverged")
STORED = ("seconds", "peak_mb")  # of a run's own metrics
BEHIND_DEG, ELEVATIONS_DEG = (150.0, 180.0, 210.0), (0.0, 15.0, 30.0)
FRONT, BACK = VIEWS.index("front view"), VIEWS.index("back view")
TOYS = 8  # whose renders the details of a result are compared with
VERSION = 1  # of what is measured; results of another are measured anew


@dataclass(frozen=True)
class Result:
    """What was measured of a run, and the views that were judged."""

    values: Mapping[str, float]
    views: UInt8[Tensor, "V 3 H W"]


@dataclass
class Meter:
    """Measures runs; the true toys of a caption are made once."""

    judge: Judge = field(default_factory=Judge.load)
    protocol: str = "quick"  # the views that are judged
    further: Further | None = None
    families: dict[str, list[Shape]] = field(default_factory=dict)
    true_patches: dict[str, list[Quantiles]] = field(default_factory=dict)

    def __call__(self, folder: Path, cache: Path) -> Result | None:
        """The result of a run, from `cache` where it was measured there before; None for one without a checkpoint."""
        try:
            recipe, scene = open_3d_scene(folder)
        except ValueError:
            return None
        key = {
            "version": VERSION,
            "protocol": self.protocol,
            "recipe": to_plain(recipe),
            "checkpoints": checkpoint.indices(folder / CHECKPOINTS),
        }
        key |= {"further": self.further.__module__} if self.further else {}
        key = json.loads(json.dumps(key, default=str))
        found = remembered(cache, folder.name, key, Result, lambda: self.measure(folder, recipe, scene))
        return replace(found, values={**found.values, **self.details(recipe, found)})

    @torch.no_grad()
    def measure(self, folder: Path, recipe: Recipe, scene: Any) -> Result:
        """All metrics of a scene."""
        views, family = measured_views(recipe, scene, PROTOCOLS[self.protocol]), self.family(recipe)
        rgb, row = views.rgb.nan_to_num(0, 0, 0).clamp(0, 1), measured(recipe, views, Measures())
        values = {name: float(row[name]) for name in JUDGED if name in row} | _stored(folder)
        values |= self.front_behind(recipe, scene) if family else {}
        run = Finished(folder, recipe, scene, self.judge, family, rgb, values)
        values = {**values, **self.likeness(run), **(self.further(run) if self.further else {})}
        return Result(values, (255 * rgb).round().byte())

    def family(self, recipe: Recipe) -> list[Shape]:
        """Toys that the prompt describes; none where the prior draws no toys."""
        prompt = recipe.prompt.text
        if not is_toybox(recipe.prior.name):
            return []
        if prompt not in self.families:
            self.families[prompt] = family(prompt)
        return self.families[prompt]

    def likeness(self, run: Finished) -> dict[str, float]:
        """How far the scene's shape is from the nearest of the toys that its prompt describes; nothing without any."""
        return metrics_of(nearest(run.shape, list(run.family))) if run.family else {}

    def details(self, recipe: Recipe, result: Result) -> dict[str, float]:
        """How far the details of the views are from those of true toys; nothing where the prior draws no toys."""
        if not is_toybox(recipe.prior.name):
            return {}
        cameras, background = PROTOCOLS[self.protocol].cameras(recipe, SIZE), background_color(recipe).cpu()
        key = f"{recipe.prompt.text} {recipe.views} {background.tolist()}"
        if key not in self.true_patches:
            rgb = [render(toy, cameras, background).rgb.clamp(0, 1) for toy in toys(recipe.prompt.text, TOYS)]
            self.true_patches[key] = patches(torch.cat(rgb))
        return {"patch_distance": distance(patches(result.views.float() / 255), self.true_patches[key])}

    def front_behind(self, recipe: Recipe, scene: Any) -> dict[str, float]:
        """The share of views from behind that the judge takes rather for a front; nothing for toys without a front."""
        if expected(recipe.prompt.text)[0] not in CANONICAL_FRONT:
            return {}
        azimuths, elevations = zip(*product(BEHIND_DEG, ELEVATIONS_DEG), strict=True)
        rgb = render_views(recipe, scene, list(azimuths), list(elevations), 64).rgb
        seen = self.judge.recognize(rgb.nan_to_num(0, 0, 0).clamp(0, 1).cpu()).view
        return {"front_behind": float((seen[:, FRONT] > seen[:, BACK]).float().mean())}


def diversity(judge: Judge, views: Float[Tensor, "S V 3 H W"]) -> float:
    """Mean distance of the judge's features over all pairs of results, at the same camera."""
    return fmean(metrics.diversity(judge.image_features(view)) for view in views.unbind(1))


def _stored(folder: Path) -> dict[str, float]:
    """Time and memory of the run, as it noted them itself."""
    found = metrics_in(folder)
    return {name: float(found[name]) for name in STORED if isinstance(found.get(name), int | float)}
