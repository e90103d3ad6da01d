"""Studies in 3D: statements about tables in closed form, what they plan, and one of them from end to end."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from scoredistill.cli import main
from scoredistill.cli.shared_runs import reuse
from scoredistill.contracts import Needs
from scoredistill.evaluate.intervals import share_interval
from scoredistill.evaluate.judge import Judge
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import changed
from scoredistill.runs.folder import METRICS, PAGE, RunFolder
from scoredistill.studies import SCENE_STUDIES
from scoredistill.studies.cache import places
from scoredistill.studies.scene_conduct import Runs, apart
from scoredistill.studies.scene_measures import Result, diversity
from scoredistill.studies.scene_study import (
    Above,
    Exceeds,
    NoWorse,
    Rare,
    Values,
    pairs,
    planned,
    stacked,
)
from scoredistill.sweep.plan import SweepConfig, trials
from scoredistill.sweep.trial import Trial

Z = 1.959964  # standard errors of a 95 % interval of a normal variable


def arms(one: list[list[float]], other: list[list[float]]) -> dict[str, Values]:
    return {"a": {"similarity": torch.tensor(one)}, "b": {"similarity": torch.tensor(other)}}


def test_a_difference_is_that_of_pairs() -> None:
    """Differences .1, .2, .3, .4: mean .25, standard error sqrt(1/60) / 2, and the interval t(3) = 3.182 of it wide."""
    found = arms([[0.6, 0.7], [0.8, 0.9]], [[0.5, 0.5], [0.5, 0.5]])
    holds, words = Exceeds("similarity", "a", "b", 0.1).part(found)
    error = 3.182446 * math.sqrt(1 / 60) / 2
    assert holds is True
    assert f"+0.25 [{0.25 - error:+.3g}, {0.25 + error:+.3g}] (n = 4)" in words
    assert Exceeds("similarity", "b", "a", 0.1).part(found)[0] is False


def test_runs_without_a_value_are_left_out() -> None:
    found = arms([[math.nan, 0.7], [0.7, 0.8]], [[0.5, 0.5], [0.5, 0.5]])
    assert "(n = 3)" in Exceeds("similarity", "a", "b", 0.1).part(found)[1]
    assert Exceeds("volume", "a", "b", 0.1).part(found)[0] is None


def test_an_open_statement_tells_how_many_pairs_decide() -> None:
    """sd .2, effect .1: by the noncentral t, 33 pairs have a power of .795 and 34 of .808."""
    assert pairs(0.2, 0.1) == 34
    assert pairs(0.2, 0.0) == 0 and pairs(0.0, 0.1) == 0
    noise = torch.tensor([[0.2, -0.2], [0.2, -0.2]], dtype=torch.float64)
    found = {"a": {"similarity": noise}, "b": {"similarity": torch.zeros(2, 2, dtype=torch.float64)}}
    needed = pairs(float(noise.std()), 0.1)
    holds, words = Exceeds("similarity", "a", "b", 0.1).part(found)
    assert holds is None
    assert f"{needed} pairs would decide" in words


def test_no_worse_compares_with_the_margin() -> None:
    slightly = arms([[0.49, 0.495], [0.491, 0.489]], [[0.5, 0.5], [0.5, 0.5]])
    assert NoWorse("similarity", "a", "b", 0.02).part(slightly)[0] is True
    assert NoWorse("similarity", "a", "b", 0.001).part(slightly)[0] is False


def test_a_least_value_is_decided_by_the_interval_of_the_mean() -> None:
    """Mean .65, standard error .05 / sqrt(3), t(3) = 3.182: 95 % of .558 to .742."""
    found = arms([[0.7, 0.6], [0.6, 0.7]], [[0.0, 0.0], [0.0, 0.0]])
    assert Above("similarity", "a", 0.55).part(found)[0] is True
    assert Above("similarity", "a", 0.75).part(found)[0] is False
    assert Above("similarity", "a", 0.7).part(found)[0] is None


def test_a_mean_above_zero_is_decided_by_its_interval() -> None:
    """1, 2, 3, 4: mean 2.5, standard error sqrt(5/3) / 2."""
    found = arms([[1.0, 2.0], [3.0, 4.0]], [[0.1, -0.1], [0.1, -0.1]])
    holds, words = Above("similarity", "a").part(found)
    error = 3.182446 * math.sqrt(5 / 3) / 2
    assert holds is True
    assert f"+2.5 [{2.5 - error:+.3g}, {2.5 + error:+.3g}] (n = 4)" in words
    assert Above("similarity", "b").part(found)[0] is None
    assert Above("volume", "b").part(found)[0] is None


def test_the_interval_of_a_share_is_wilson_s() -> None:
    """None of ten: z^2 / (10 + z^2); the bounds are where |share - p| = z sqrt(p (1 - p) / n)."""
    assert share_interval(0, 10) == (0, pytest.approx(Z**2 / (10 + Z**2)))
    for bound in share_interval(3, 20):
        assert abs(3 / 20 - bound) == pytest.approx(Z * math.sqrt(bound * (1 - bound) / 20))
    assert share_interval(0, 0) == (0, 1)


def test_what_is_rare_occurs_in_few_runs() -> None:
    never, often = torch.zeros(12, 4), torch.ones(12, 4)
    found = {"a": {"flat": never, "janus": often, "hollow": never[:1]}}
    assert Rare("flat", "a", 0.25).part(found)[0] is True
    holds, words = Rare("janus", "a", 0.25).part(found)
    assert holds is False and "48 of 48 runs of a" in words
    assert Rare("hollow", "a", 0.25).part(found)[0] is None
    assert Rare("drift", "a", 0.25).part(found)[0] is None


@pytest.mark.parametrize("study", SCENE_STUDIES.values(), ids=SCENE_STUDIES)
@pytest.mark.parametrize("published", [False, True])
def test_every_arm_is_a_recipe_and_every_statement_names_arms(study, published: bool, tmp_path: Path) -> None:
    runs = Runs.of(study, Needs(published=published), ["a red car", "a blue cat"], 2)
    for each in study.statements:
        assert {getattr(each, name) for name in ("one", "other", "arm") if hasattr(each, name)} <= runs.arms.keys()
    grid = {"prompt": list(runs.captions), "seed": [0, 1]}
    plan = SweepConfig("study", (), {"prior": "toybox"}, grid, tuple(runs.arms.values()))
    found = [(trial.recipe.prompt.text, trial.recipe.training.seed) for trial in trials(plan, tmp_path)]
    assert found == [(runs.captions[caption], seed) for _, caption, seed in runs]


def test_tables_have_a_place_for_every_run() -> None:
    table = stacked({(0, 1): {"similarity": 0.5}, (1, 0): {"similarity": 0.7, "chamfer": 0.1}}, 2, 2)
    torch.testing.assert_close(
        table["similarity"], torch.tensor([[math.nan, 0.5], [0.7, math.nan]], dtype=torch.float64), equal_nan=True
    )
    assert table["chamfer"].isfinite().sum() == 1


def test_runs_without_a_result_are_no_part_of_the_diversity() -> None:
    """A failed run is black in the pictures, which is as far from the others as can be."""
    rng, judge = torch.Generator().manual_seed(0), Judge.load()
    one, two, three = (
        Result({}, torch.randint(256, (2, 3, 64, 64), generator=rng, dtype=torch.uint8)) for _ in range(3)
    )
    found = apart(judge, {(0, 0): one, (0, 2): two, (1, 1): three, (2, 0): one, (2, 1): one}, 4)
    assert found.shape == (4, 1)
    assert float(found[0]) == pytest.approx(diversity(judge, torch.stack([one.views, two.views]).float() / 255))
    assert float(found[2]) == pytest.approx(0, abs=1e-6)
    assert found.isnan().flatten().tolist() == [False, True, False, True]


def test_a_pilot_plans_the_number_of_pairs() -> None:
    noise = torch.tensor([[0.2, -0.2], [0.2, -0.2]], dtype=torch.float64)
    pilot = {name: {"similarity": sign * noise} for name, sign in (("sdi", 1), ("sds", -1))}
    lines = planned(SCENE_STUDIES["sdi_against_sds"], pilot)
    assert f"effect 0.02: {pairs(float((2 * noise).std()), 0.02)} pairs" in lines[0]
    assert lines[1].endswith("unknown: fewer than two pairs")


def test_the_paper_s_table_is_planned_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "sdi_table_1", "--prior", "sd", "--preset", "paper", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "43 prompts x 6 arms x 1 seeds = 258 runs; 50 views" in printed
    assert " hours with --processes 1" in printed
    assert " GB on the disk" in printed


def test_a_study_measures_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs of one step; one that comes to nothing is measured too, and another study makes neither again."""
    flags = ["study", "sdi_against_sds", "--prior", "toybox", "--captions", "1", "--seeds", "1", "--steps", "1"]
    assert main([*flags, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row[""] for row in result["rows"]] == ["sds", "sdi"]
    assert all(-1 <= row["similarity"]["mean"] <= 1 for row in result["rows"])
    assert result["holds"] is None
    assert result["settings"]["preset"] == "study"
    page = (tmp_path / "index.html").read_text()
    assert "SDI compared with SDS in 3D" in page
    again = tmp_path.with_name("again")
    assert main([*flags, "--out", str(again), "--reuse", str(tmp_path)]) == 0
    assert json.loads((again / "result.json").read_text())["rows"] == result["rows"]
    made, copied = ((each / "runs" / "a-purple-snowman-sdi-0" / "log.jsonl").read_bytes() for each in (tmp_path, again))
    assert made == copied


@pytest.mark.parametrize(("content", "count"), [(b"a cat", 1), (b"a dog", 0)])
def test_a_run_from_a_picture_is_reused_where_the_picture_is_the_same(
    tmp_path: Path, content: bytes, count: int
) -> None:
    there, here = tmp_path / "cat.png", tmp_path / "other.png"
    there.write_bytes(b"a cat")
    here.write_bytes(content)
    recipe = PRESETS["fast"]("a red car")
    done = RunFolder.create(changed(recipe, "prompt.picture.file", str(there)), tmp_path / "study" / "runs" / "one")
    (done / METRICS).write_text(json.dumps({"steps": recipe.training.steps}))
    (done / PAGE).touch()
    (tmp_path / "new" / "runs").mkdir(parents=True)
    trial = Trial(tmp_path / "new" / "runs" / "two", changed(recipe, "prompt.picture.file", str(here)))
    assert reuse([trial], tmp_path / "new", [tmp_path / "study"]) == count
    assert trial.state() == ("done" if count else "new")


def test_only_studies_in_3d_reuse_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for study, line in (("sdi_scales", "reuse is for studies in 3D"), ("sdi_table_1", "is not the folder of a study")):
        assert main(["study", study, "--out", str(tmp_path / "new"), "--reuse", str(tmp_path)]) == 2
        assert line in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", [["--preset", "fast"], ["--processes", "2"], ["--dry-run"]])
def test_studies_in_2d_refuse_what_they_would_ignore(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "sdi_scales", *flag]) == 2
    assert "is for studies in 3D, and sdi_scales is in 2D" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--prior", "nowhere/nothing.safetensors"], ["--preset", "stduy"]])
def test_a_study_that_cannot_be_run_leaves_no_folder(tmp_path: Path, flags: list[str]) -> None:
    assert main(["study", "sdi_against_sds", *flags, "--out", str(tmp_path / "new")]) == 2
    assert not list(tmp_path.iterdir())


def test_measurements_come_along_with_the_runs_that_are_reused(tmp_path: Path) -> None:
    """From the place of the run's own name, or from that of earlier versions, which others may have shared."""
    recipe = PRESETS["fast"]("a red car")
    done = RunFolder.create(recipe, tmp_path / "study" / "runs" / "scale--2.5")
    (done / METRICS).write_text(json.dumps({"steps": recipe.training.steps}))
    (done / PAGE).touch()
    cache = tmp_path / "study" / "cache"
    for place, target in zip(reversed(places(cache, "scale--2.5")), ("one", "two"), strict=True):
        place.mkdir(parents=True)
        (place / "number").write_text(target)
        new = tmp_path / target
        (new / "runs").mkdir(parents=True)
        assert reuse([Trial(new / "runs" / "scale-2.5", recipe)], new, [tmp_path / "study"]) == 1
        assert (places(new / "cache", "scale-2.5")[0] / "number").read_text() == target


def test_the_preset_of_studies_makes_the_scenes_of_fast() -> None:
    fast, study = (PRESETS[name]("a red car", method="sdi", scene="nerf", prior="toybox") for name in ("fast", "study"))
    assert (study.training.steps, study.training.updates) == (fast.training.steps, fast.training.updates)
    assert (study.method, study.scene) == (fast.method, fast.scene)
