"""Many runs on one page and in one table: content, escaping, no requests, statistics, error lines."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from tiny import PROMPT, fast

from scoredistill.cli import main
from scoredistill.compare.conduct import Comparison, compare
from scoredistill.compare.gather import Gathered
from scoredistill.compare.page import render
from scoredistill.compare.variants import settings_table, variants
from scoredistill.evaluate.intervals import Estimate, over_seeds, paired, pooled
from scoredistill.export.curves import COLORS, overlaid, series
from scoredistill.recipes.build import build
from scoredistill.recipes.recipe import changed
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.journal import record
from scoredistill.runs.table import csv_bytes, row

HOSTILE = "<img src=x onerror=alert(1)> \"'&amp; </script><script>"
SCENE = """
from scoredistill.scenes.image import ImageConfig
def scene(rng, steps, resolution):
    return ImageConfig().build(rng=rng, steps=steps, resolution=resolution)
scene.flat = True
"""
QUICK = Comparison(frames=4, resolution=16)

pytestmark = pytest.mark.usefixtures("toy_presets")


def run(path: Path, prior: str, method: str, seed: int, scene: str = "image", prompt: str = PROMPT, **more: object):
    """A run of two steps, without what is made of it at the end."""
    recipe = fast(prompt, method=method, scene=scene, prior=prior, seed=seed)
    for name, value in {"training.steps": 2, "training.batch": 1, "training.resolution": 16, **more}.items():
        recipe = changed(recipe, name, value)
    for _ in record(RunFolder.create(recipe, path), build(recipe)):
        pass


@pytest.fixture(scope="module")
def runs(prior: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: two methods by two seeds on images, and a field by each method."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("sds", "sdi"):
        for seed in (0, 1):
            run(folder / "flat" / f"{method}-{seed}", prior, method, seed)
        run(folder / f"nerf-{method}", prior, method, 0, "nerf", "a purple snowman")
    return folder


@pytest.fixture(scope="module")
def page(runs: Path) -> str:
    """The page of them all."""
    assert main(["compare", str(runs), "--frames", "4", "--resolution", "16"]) == 0
    return (runs / "compare.html").read_text()


@pytest.fixture(scope="module")
def found(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Gathered:
    """The runs on images as they are compared, from a folder with characters that HTML and URLs reserve."""
    folder = tmp_path_factory.mktemp("reserved") / HOSTILE.replace("/", "?#%")
    shutil.copytree(runs / "flat", folder)
    gathered, page, table = compare([folder], QUICK)
    assert page.parent.samefile(table.parent) and page.parent.samefile(folder)
    return gathered


# ---- the page ----


def test_flat_and_3d_runs_stand_on_one_page(runs: Path, page: str) -> None:
    assert "<h1>6 runs: 2 prompts, 2 methods</h1>" in page
    assert page.count('class="turntable"') == 2 and page.count('<img src="data:image/webp') == 4
    for link in ("flat/sds-0/index.html", "nerf-sdi/index.html"):
        assert f'<a href="{link}">' in page and (runs / link).parent.is_dir()
    for heading in ("Metrics", "Paired differences", "Curves", "Settings that differ", "Reproduce"):
        assert f"<h2>{heading}</h2>" in page
    for name in ("sds, scene image", "sds, scene nerf", "sdi, scene image", "sdi, scene nerf"):
        assert f"{name}</th>" in page
    assert "similarity" in page and "grad norm" in page and "scene.name" in page
    assert "(n = 2)" in page  # two seeds of a method


def test_all_turntables_have_the_same_number_of_frames(page: str) -> None:
    sheets = re.findall(r"--frames: 4; background-image: url\(data:image/webp;base64,([^)]+)\)", page)
    sizes = {Image.open(io.BytesIO(base64.b64decode(sheet))).size for sheet in sheets}
    assert len(sheets) == 2 and sizes == {(4 * 16, 16)}
    assert '<input type="range" id="view" min="0" max="3"' in page


def test_no_request_is_possible(page: str) -> None:
    """Nothing but the page's own script may run, and there is no address that could be loaded."""
    assert not re.search(r"https?:|[\"'(]//|@import|<link|<iframe|<object| on\w+=", page.split("</style>")[1])
    assert all(
        each.startswith("data:") for each in re.findall(r"url\(([^)]*)\)|src=\"([^\"]*)", page) for each in each if each
    )
    [script] = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    expected = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "default-src 'none'" in policy[1] and f"script-src 'sha256-{expected}'" in policy[1]
    assert policy[1].count("sha256-") == 1 and "'unsafe-inline'; img-src data:" in policy[1]


def test_hostile_text_is_shown_as_text(found: Gathered, tmp_path: Path) -> None:
    """In prompts, folder names, reasons, names of metrics and values of settings."""
    [first, *others] = found.runs
    recipe = changed(changed(first.recipe, "prompt.text", HOSTILE), "prompt.negative", HOSTILE)
    row = first.row | {"run": HOSTILE, "prompt": HOSTILE, HOSTILE: 1.0, "seen_as": HOSTILE}
    hostile = replace(first, recipe=recipe, row=row, log=[{"step": 0, HOSTILE: 1.0}])
    html = render(Gathered([hostile, *others], [(Path(HOSTILE), HOSTILE)]), 4, tmp_path, f"{HOSTILE}.csv", HOSTILE)
    assert "<script" not in html and "<img src=x" not in html  # flat scenes alone have no turntables, so no script
    assert unescape(html).count(HOSTILE) > 8
    hrefs = re.findall(r'href="([^"]*)"', html)
    assert hrefs and not any(re.search(r"[<>'\s?#:]", href) for href in hrefs)


def test_runs_on_another_drive_are_linked_by_their_whole_path(
    found: Gathered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relpath(path: object, start: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    html = render(found, 4, tmp_path, "runs.csv", "command")
    for run in found.runs:
        assert f'href="{(run.path / "index.html").absolute().as_uri()}"' in html


def test_variants_are_named_by_what_distinguishes_them(found: Gathered) -> None:
    sds = [run for run in found.runs if run.row["method"] == "sds"]
    hot, cold = (
        replace(run, recipe=changed(run.recipe, "method.scale", scale))
        for run, scale in zip(sds, (9.0, 1.0), strict=True)
    )
    cold = replace(cold, recipe=changed(cold.recipe, "training.save_every", 7))
    groups = variants([hot, cold, *found.runs])
    names = [variant.name for variant in groups]
    assert names[:2] == ["sds, method.scale 9", "sds, method.scale 1"] and names[2] == "sdi"
    assert [len(variant.runs) for variant in groups] == [1, 1, 2, 2]
    rows = {row["setting"]: row for row in settings_table(groups)}
    assert rows["method.scale"]["sds, method.scale 9"] == "9" and rows["training.seed"]["sdi"] == "0, 1"
    assert "training.save_every" in rows and "training.batch" not in rows


def test_priors_of_one_file_name_are_different_variants(found: Gathered) -> None:
    sds = [run for run in found.runs if run.row["method"] == "sds"]
    pair = [
        replace(run, recipe=changed(run.recipe, "prior.name", f"/{place}/weights.safetensors"))
        for run, place in zip(sds, "ab", strict=True)
    ]
    groups = variants(pair)
    assert [variant.name for variant in groups] == ["sds, variant 1", "sds, variant 2"]
    (row,) = (row for row in settings_table(groups) if row["setting"] == "prior.name")
    assert (row["sds, variant 1"], row["sds, variant 2"]) == ("/a/weights.safetensors", "/b/weights.safetensors")


def test_runs_of_the_same_prompt_and_seed_count_once(found: Gathered) -> None:
    [_, sds] = variants([*found.runs, found.runs[-1]])
    assert len(sds.runs) == 3 and len(sds.values("similarity")) == 2


def test_every_curve_is_drawn_though_colors_repeat() -> None:
    curves = [(series(place), [(0.0, float(place)), (1.0, float(place))]) for place in range(2 * COLORS + 1)]
    assert overlaid(curves).count("<polyline") == len(curves)


# ---- the table ----


def test_the_table_holds_a_row_for_each_run(runs: Path, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (runs / "compare.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["run"] for row in rows] == ["sdi-0", "sdi-1", "sds-0", "sds-1", "nerf-sdi", "nerf-sds"]
    columns = {"run", "prompt", "method", "seed", "prior", "scene", "seconds", "steps", "similarity", "diverged"}
    assert columns <= rows[0].keys()
    assert all(float(row["seconds"]) > 0 and row["diverged"] in ("true", "false") for row in rows)


def test_evaluate_writes_the_same_table(runs: Path, tmp_path: Path) -> None:
    """In both formats; the page and its table stand elsewhere here, and link to the runs from there."""
    folders = [runs / "flat" / name for name in ("sdi-0", "sds-0")]
    (tmp_path / "deep").mkdir()
    _, page, table = compare(folders, replace(QUICK, out=tmp_path / "deep" / "page.html"))
    links = re.findall(r'href="([^"]*index.html)"', page.read_text())
    assert links and all((page.parent / link).parent.is_dir() for link in links)
    for name in ("rows.csv", "rows.json"):
        assert main(["evaluate", *map(str, folders), "--out", str(tmp_path / name)]) == 0
    assert table == tmp_path / "deep" / "page.csv"
    assert table.read_bytes() == (tmp_path / "rows.csv").read_bytes()
    assert table.read_bytes() == csv_bytes(json.loads((tmp_path / "rows.json").read_text()))


def test_metrics_that_a_checkpoint_lacks_come_from_its_own_step(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "flat" / "sds-0", tmp_path / "run")
    for steps in (1, 2):
        stored = {"mesh_psnr": 31.5, "similarity": -7.0, "steps": steps}
        (tmp_path / "run" / "metrics.json").write_text(json.dumps(stored))
        found = row(tmp_path / "run")
        assert found["similarity"] > -1 and found.get("mesh_psnr") == (31.5 if steps == 2 else None)


@pytest.mark.parametrize("content", ["[1]", "[" * 200_000, "{", '{"steps": "2"}'])
def test_metrics_that_are_damaged_count_as_none(runs: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(runs / "flat" / "sds-0", tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text(content)
    assert "mesh_psnr" not in row(tmp_path / "run")


CELLS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.text(st.characters(exclude_categories=["Cs"]))
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b,", 'c"', "d\n"]), CELLS, min_size=1), min_size=1))
def test_csv_gives_back_what_was_written(rows: list[dict[str, object]]) -> None:
    read = list(csv.DictReader(io.StringIO(csv_bytes(rows).decode(), newline="")))
    for each, cells in zip(rows, read, strict=True):
        for name, value in each.items():
            assert type(value)(cells[name]) == value
        assert all(cells[name] == "" for name in cells.keys() - each.keys())


def test_cells_without_a_value() -> None:
    rows = [{"a": float("nan"), "b": None, "c": {"x": True}}, {"a": 0.1, "d": [1, 2]}]
    assert csv_bytes(rows).decode().splitlines() == ["a,b,c.x,d", ",,true,", '0.1,,,"[1, 2]"']


# ---- statistics ----

ONE, OTHER = [0.71, 0.75, 0.68, 0.8, 0.77], [0.7, 0.69, 0.7, 0.72, 0.71]


def test_one_group_has_the_interval_of_students_t() -> None:
    found = pooled([ONE])
    low, high = stats.t.interval(0.95, len(ONE) - 1, loc=found.mean, scale=stats.sem(ONE))
    assert found.limits == pytest.approx((low, high))
    assert pooled([[0.0, 2.0]]).half == pytest.approx(12.706204736)  # t(0.975; 1) sqrt(2 / 2)


def test_pairs_have_the_interval_of_the_paired_t_test() -> None:
    keys = [("a red car", seed) for seed in range(5)]
    values, others = dict(zip(keys, ONE, strict=True)), dict(zip(keys, OTHER, strict=True))
    expected = stats.ttest_rel(ONE, OTHER).confidence_interval(0.95)
    assert paired(values, others).limits == pytest.approx((expected.low, expected.high))
    assert paired(values | {("more", 0): 9.0}, others | {("more", 1): -9.0}) == paired(values, others)
    assert paired(values, {}) is None


def test_prompts_are_no_part_of_the_interval_over_seeds() -> None:
    """The residual variance of a one-way analysis: differences between prompts do not count, however large."""
    near = over_seeds({("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 1.0, ("b", 1): 3.0})
    far = over_seeds({("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 101.0, ("b", 1): 103.0})
    assert near.half == far.half == pytest.approx(stats.t.ppf(0.975, 2) * (4 / 2 / 4) ** 0.5)
    assert (near.mean, far.mean) == (2.0, 52.0)


def test_without_a_second_seed_there_is_no_interval() -> None:
    assert over_seeds({("a", 0): 1.0, ("b", 0): 2.0}) == Estimate(1.5, None, 2)
    assert over_seeds({}) is None
    assert Estimate(1.5, None, 2).sign is None and Estimate(-1.5, 1.6, 2).sign is None
    assert Estimate(1.5, 1.4, 2).sign is True and Estimate(-1.5, 1.4, 2).sign is False


def test_an_estimate_is_shown_with_as_many_digits_as_it_needs() -> None:
    assert str(Estimate(165.72, 231.9, 4)) == "166 ± 232 (n = 4)"
    assert str(Estimate(0.037218, 0.0012345, 4)) == "0.0372 ± 0.0012 (n = 4)"
    assert str(Estimate(123456.7, None, 1)) == "123457 (n = 1)"


# ---- what cannot be compared ----


def line(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line that a refused comparison prints."""
    capsys.readouterr()
    assert main(["compare", *map(str, words)]) == 2
    [found] = capsys.readouterr().err.strip().splitlines()
    return found


def test_runs_that_cannot_be_opened_are_left_out(runs: Path, prior: str, tmp_path: Path) -> None:
    """Without checkpoint, damaged, of an unreadable configuration, of a scene that cannot be built."""
    here = tmp_path / "runs"
    mine = tmp_path / "mine.py"
    mine.write_text(SCENE)
    run(here / "unbuilt", prior, "sds", 0, f"{mine}:scene")
    mine.write_text(SCENE.replace("return", "raise KeyError('no such shape') #"))
    for name in ("sdi-0", "sds-0", "damaged", "unread"):
        shutil.copytree(runs / "flat" / "sds-0", here / name)
    for file in (here / "damaged" / "checkpoint").iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    (here / "unread" / "config.yaml").write_text("format: 1\n")
    RunFolder.create(fast(PROMPT, prior=prior), here / "empty")
    found, page, _ = compare([here], QUICK)
    reasons = {path.name: reason for path, reason in found.left_out}
    assert "no checkpoint yet" in reasons["empty"] and "no whole checkpoint" in reasons["damaged"]
    assert "lacks the section" in reasons["unread"] and reasons["unbuilt"] == "KeyError: 'no such shape'"
    html = page.read_text()
    assert len(reasons) == 4 and "<h2>Left out</h2>" in html and html.count("<figure><img") == 2


def test_nothing_to_compare(runs: Path, prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = runs / "flat" / "sds-0"
    assert "name the folders of the runs to compare" in line(capsys)
    assert "is neither a run folder nor a folder that holds some" in line(capsys, tmp_path)
    assert "/nowhere is neither" in line(capsys, "/nowhere")
    assert "is a single run; name at least two" in line(capsys, one)
    assert "is named twice, and one run counts once" in line(capsys, runs, one)
    assert "will hold HTML, so its name must end in .html" in line(capsys, runs, "--out", tmp_path / "page.pdf")
    assert "frames times resolution must be at most 16383" in line(capsys, runs, "--frames", "360")
    RunFolder.create(fast(PROMPT, prior=prior), tmp_path / "empty")
    assert "1 of 2 runs can be opened" in line(capsys, tmp_path / "empty", one)
    assert not list(tmp_path.glob("*.html")) and not list(tmp_path.glob("*.csv"))


def test_a_file_that_would_be_lost_is_not_replaced(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.csv").mkdir()
    assert "page.csv is a folder" in line(capsys, runs, "--out", tmp_path / "page.html")
