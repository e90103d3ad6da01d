"""Courses of runs: closed forms of detail and distance, and the pictures of a run, read back from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scoredistill.evaluate.geometry import Shape
from scoredistill.evaluate.judge import Judge
from scoredistill.export.images import grid
from scoredistill.recipes.presets import PRESETS
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.journal import GAP
from scoredistill.studies.evolution import apart, detail, moments
from scoredistill.studies.finished import Finished
from scoredistill.studies.scene_conduct import Found, Runs
from scoredistill.studies.sdi_traces import ROWS, TRACES, courses, tiles, traced
from scoredistill.toybox import BACKGROUND


def test_detail_of_a_ramp_is_its_slope() -> None:
    ramp = torch.linspace(0, 1, 9, dtype=torch.float64).expand(2, 3, 9, 9)
    assert detail(ramp).tolist() == pytest.approx([1 / 8, 1 / 8])
    assert detail(ramp + ramp.transpose(2, 3)).tolist() == pytest.approx([2**0.5 / 8] * 2)
    assert detail(torch.full((1, 3, 8, 8), 0.3, dtype=torch.float64)).tolist() == [0]


def test_courses_are_apart_by_their_mean_distance() -> None:
    one, other = [torch.tensor([[0.0]]), torch.tensor([[1.0]])], [torch.tensor([[0.5]]), torch.tensor([[0.9]])]
    assert float(apart(one, other)) == pytest.approx(0.3)


def test_moments_hold_the_first_and_the_last_step() -> None:
    assert moments(11) == [0, 2, 4, 6, 8, 10]
    assert moments(2) == [0, 1] and moments(1) == [0]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_tiles_are_the_images_of_a_sheet(count: int) -> None:
    images = torch.rand(count, 3, 8, 8)
    torch.testing.assert_close(tiles(grid(images, gap=GAP), count), images)


def views(rgb: torch.Tensor) -> torch.Tensor:
    """Four equal views, as a run writes them."""
    return grid(rgb.expand(4, -1, -1, -1), gap=GAP)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run whose noise is three times as loud on a square as beside it, and whose render goes from plain to sharp."""
    found = RunFolder.create(PRESETS["study"]("a red car", prior="toybox"), tmp_path / "run")
    plain = torch.tensor(BACKGROUND)[:, None, None].expand(3, 64, 64)
    toy = torch.zeros(1, 64, 64, dtype=torch.bool)
    toy[:, 16:48, 16:48] = True
    clean = torch.where(toy, torch.tensor([0.9, 0.1, 0.1])[:, None, None], plain)
    sign = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)).sub(0.5).sign()
    noise = 0.5 + sign * torch.where(toy, 0.3, 0.1)
    for index, render in ((0, plain), (149, clean)):
        pictures = {"1-render": render, "2-noised": (clean + noise) / 2, "3-denoised": clean, "4-noise": noise}
        found.trace(index, {name: views(rgb) for name, rgb in pictures.items()})
    return found


def test_the_course_of_a_run_is_measured_on_its_pictures(folder: RunFolder) -> None:
    recipe, judge = folder.recipe, Judge.load()
    toy = Shape(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(4, 4, 4, dtype=torch.bool))
    run = Finished(folder.path, recipe, None, judge, [toy], torch.zeros(1, 3, 64, 64), {})
    found = traced(run)
    assert found["noise_on_toy"] == pytest.approx(9, rel=0.05)  # eight bits
    assert found["sharpening"] > 0.01 and found["nearer_clean"] > 0.01
    assert found["log_residual"] < -3  # the mean of the logarithms, of which the last is the least that counts
    assert -1 <= found["early_similarity"] <= 1


def test_the_course_of_each_arm_has_a_sheet(folder: RunFolder) -> None:
    runs = Runs(TRACES, {"sdi": {}}, ["a red car"], 1)
    (sheet,) = courses(Found(runs, {}, {}, {("sdi", 0, 0): folder.path})).values()
    assert (list(sheet.rows), list(sheet.columns)) == (list(ROWS.values()), ["step 0", "step 149"])
    torch.testing.assert_close(
        sheet.pictures[0, 0], torch.tensor(BACKGROUND)[:, None, None].expand(3, 64, 64), atol=1 / 255, rtol=0
    )
