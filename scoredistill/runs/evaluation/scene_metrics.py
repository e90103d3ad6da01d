"""The metrics of a finished scene: the judge's, those that need no judge, and those of one's own."""

from __future__ import annotations

from typing import Any

import torch

from scoredistill import own
from scoredistill.evaluate import metrics
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.part_meter import PartMeter
from scoredistill.evaluate.report import evaluate_views
from scoredistill.priors.load import is_toybox
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.evaluation.measures import Measures
from scoredistill.runs.evaluation.protocol import Views, measured_views

WITHOUT_JUDGE = {"sharpness": metrics.sharpness, "saturation": metrics.saturation}


def evaluate(recipe: Recipe, scene: Any, measures: Measures | None = None) -> dict[str, Any]:
    """The metrics of a scene, by default those that need no weights; see `measured`."""
    measures = measures or Measures()
    return measured(recipe, measured_views(recipe, scene, measures.protocol), measures)


@torch.no_grad()
def measured(recipe: Recipe, views: Views, measures: Measures) -> dict[str, Any]:
    """The judge's metrics, or where it does not apply (why: "judge") those that need none; own and published ones.

    The judge knows the toys of Toybox only, so it sees runs of Toybox's priors only.

    An own metric is FILE.py:NAME of a function (rgb [V 3 H W] in [0, 1], prompt) -> number.
    """
    rgb, prompt = views.rgb.nan_to_num(0, 0, 0).clamp(0, 1), recipe.prompt.text
    found = {name.rpartition(":")[2]: _own(name, rgb, prompt) for name in measures.own}
    for metric in measures.views:
        found |= metric(rgb, prompt)
    try:
        if not is_toybox(recipe.prior.name):
            raise ValueError(f"the judge knows the toys of Toybox only, and the prior is {recipe.prior.name}")
        judge, meter = Judge.load(), PartMeter.load()
        return evaluate_views(judge, views.rgb, views.opacity, prompt, views.cameras, meter=meter) | found
    except ValueError as error:
        reason = metrics.divergence(views.rgb, views.opacity)
        plain = {name: float(meter(rgb).mean()) for name, meter in WITHOUT_JUDGE.items()}
        return plain | {"diverged": bool(reason), "reason": reason, "judge": str(error)} | found


def _own(name: str, rgb: torch.Tensor, prompt: str) -> float:
    """The value of an own metric; ValueError where it gives no number."""
    value = own.load_own(name)(rgb, prompt)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"metric {name} must give a number, got {value!r}") from None
