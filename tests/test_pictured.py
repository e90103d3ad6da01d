"""Studies that start from pictures of true toys: the pictures, and results beside the very toy of the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import ToyScene

from scoredistill.cli import main
from scoredistill.evaluate.geometry import true_shape
from scoredistill.evaluate.judge import Judge
from scoredistill.recipes.recipe import Recipe
from scoredistill.scenes.pixels import read_pixels
from scoredistill.studies.finished import Finished
from scoredistill.studies.pictured import (
    AZIMUTH_DEG,
    ELEVATION_DEG,
    against_the_pictured,
    as_placed,
    cameras,
    pictured,
    pictures,
)
from scoredistill.sweep.plan import SweepConfig, trials
from scoredistill.toybox import Description, build, render
from scoredistill.views import ZERO123_ORBIT

CAPTION = "a red car"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A run from the picture of a caption."""
    grid = dict(pictures([CAPTION], tmp_path_factory.mktemp("study")))
    (trial,) = trials(SweepConfig("study", (), {"prior": "toybox-pose"}, grid), Path())
    return trial.recipe


def test_a_run_starts_from_the_picture_and_its_camera(recipe: Recipe) -> None:
    picture = recipe.prompt.picture
    assert recipe.prompt.text == CAPTION
    assert (picture.azimuth_deg, picture.elevation_deg) == (AZIMUTH_DEG, ELEVATION_DEG)


def test_a_picture_is_a_render_of_the_toy_named_after_its_caption(recipe: Recipe, tmp_path: Path) -> None:
    """Twice the same bytes; its opacity is the toy's silhouette; one that is there is left alone."""
    (again,) = map(Path, pictures([CAPTION], tmp_path)["picture"])
    assert again.stem == CAPTION
    assert again.read_bytes() == Path(recipe.prompt.picture.file).read_bytes()
    _, opacity = read_pixels(again)
    seen = render(pictured(CAPTION), cameras((0.0,), 2.8, 40.0, 256), torch.zeros(3)).opacity[0]
    torch.testing.assert_close(opacity, seen, atol=0.01, rtol=0)
    again.write_bytes(b"mine")
    pictures([CAPTION], tmp_path)
    assert again.read_bytes() == b"mine"


def test_the_very_toy_is_like_itself_and_another_of_its_kind_less_so(recipe: Recipe) -> None:
    other = build(Description("car", "red"), np.random.default_rng(5))
    judge, found = Judge.load(), []
    for toy in (pictured(CAPTION), other):
        shape = true_shape(toy)
        run = Finished(Path(), recipe, ToyScene(toy), judge, [shape], torch.zeros(1, 3, 64, 64), {})
        vars(run)["shape"] = shape
        found.append(against_the_pictured(run))
    same, alike = found
    assert same["true_overlap"] == 1 and same["true_chamfer"] < 0.02
    assert same["picture_psnr"] > 60 and same["behind_psnr"] > 60
    assert same["behind_likeness"] == pytest.approx(1, abs=1e-4)
    for name in ("true_overlap", "true_normals", "picture_psnr", "behind_psnr", "behind_likeness"):
        assert alike[name] < same[name]


def test_a_toy_is_placed_as_large_as_the_run_s_camera_sees_it(recipe: Recipe) -> None:
    """With the cameras of Zero-1-to-3 the picture's silhouette is about that of the smaller toy."""
    distant = replace(recipe, views=ZERO123_ORBIT)
    radius, fov_deg = distant.views.middle()
    near = render(pictured(CAPTION), cameras((0.0,), 2.8, 40.0, 64), torch.zeros(3)).opacity > 0.5
    far = render(as_placed(CAPTION, distant), cameras((0.0,), radius, fov_deg, 64), torch.zeros(3)).opacity > 0.5
    assert float((near & far).sum() / (near | far).sum()) > 0.85  # perspective differs


def test_a_study_of_pictures_is_planned_without_writing_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", "dsd_figure_7", "--captions", "2", "--dry-run"]) == 0
    assert "2 prompts x 2 arms x 4 seeds = 16 runs" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
