"""The list of metrics, and the priors for which each means something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scoredistill.cli import main
from scoredistill.evaluate.catalogue import METRICS
from scoredistill.evaluate.report import AVERAGED
from scoredistill.priors.load import is_toybox
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.evaluation.scene_metrics import evaluate
from scoredistill.scenes.image import ImageConfig


def test_every_metric_is_described() -> None:
    for metric in METRICS.values():
        assert metric.title and metric.equation and metric.source and metric.validation, metric.name
        assert metric.low < metric.high
    assert set(AVERAGED) <= METRICS.keys()


def test_the_command_lists_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    main(["metrics"])
    shown = capsys.readouterr().out
    for name, metric in METRICS.items():
        assert f"\n{name} " in shown
        assert metric.equation in shown


def test_toybox_priors_are_recognized_by_their_weights(prior: str, tmp_path: Path) -> None:
    assert is_toybox("toybox") and is_toybox("toybox-mv") and is_toybox(prior)
    assert not is_toybox("sd") and not is_toybox(f"{tmp_path}/mine.py:Mine")
    (tmp_path / "broken.safetensors").write_bytes(b"?")
    assert not is_toybox(str(tmp_path / "broken.safetensors")) and not is_toybox(str(tmp_path / "gone.safetensors"))


def recipe_of(prior: str) -> Recipe:
    recipe = PRESETS["fast"]("a red car", method="sds", scene="image", prior="toybox")
    return replace(recipe, prior=replace(recipe.prior, name=prior))


def test_the_judge_sees_only_runs_of_toybox() -> None:
    scene = ImageConfig(count=2).build(rng=torch.Generator().manual_seed(0), steps=1, resolution=64)
    assert "seen_as" in evaluate(recipe_of("toybox"), scene)
    row = evaluate(recipe_of("sd"), scene)
    assert "seen_as" not in row and "kind_right" not in row
    assert "sd" in row["judge"] and 0 <= row["sharpness"] <= 1
