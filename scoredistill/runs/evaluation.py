"""The metrics of a finished scene: the judge's, those that need no judge, and those of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from scoredistill import own
from scoredistill.contracts import HasPixels
from scoredistill.evaluate import metrics
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.report import evaluate_views
from scoredistill.priors.load import is_toybox
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs import renders
from scoredistill.runs.clip_metrics import ClipMetrics

VIEWS = 8  # evaluated views, evenly around


@torch.no_grad()
def evaluate(
    recipe: Recipe, scene: Any, own_metrics: Sequence[str] = (), published: ClipMetrics | None = None
) -> dict[str, Any]:
    """The judge's metrics, or where it does not apply (why: "judge") those that need none; own and published ones.

    The judge knows the toys of Toybox only, so it sees runs of Toybox's priors only.

    An own metric is FILE.py:NAME of a function (rgb [V 3 H W] in [0, 1], prompt) -> number.
    """
    if isinstance(scene, HasPixels):
        rgb, opacity, cameras = scene.pixels.detach().cpu(), None, None
    else:
        cameras = renders.ring_cameras(recipe, VIEWS, renders.RESOLUTION)
        frames = list(renders.turntable(recipe, scene, VIEWS, renders.RESOLUTION))
        rgb, opacity = (torch.cat([getattr(frame, name) for frame in frames]).cpu() for name in ("rgb", "opacity"))
    prompt = recipe.prompt.text
    found = {name.rpartition(":")[2]: _measured(name, rgb, prompt) for name in own_metrics}
    if published is not None:
        found |= published(rgb.nan_to_num(0, 0, 0).clamp(0, 1), prompt)
    try:
        if not is_toybox(recipe.prior.name):
            raise ValueError(f"the judge knows the toys of Toybox only, and the prior is {recipe.prior.name}")
        return evaluate_views(Judge.load(), rgb, opacity, prompt, cameras) | found
    except ValueError as error:
        reason = metrics.divergence(rgb, opacity)
        sharpness = float(metrics.sharpness(rgb.nan_to_num(0, 0, 0).clamp(0, 1)).mean())
        return {"sharpness": sharpness, "diverged": bool(reason), "reason": reason, "judge": str(error)} | found


def _measured(name: str, rgb: torch.Tensor, prompt: str) -> float:
    """The value of an own metric; ValueError where it gives no number."""
    value = own.load_own(name)(rgb.nan_to_num(0, 0, 0).clamp(0, 1), prompt)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"metric {name} must give a number, got {value!r}") from None
