"""The documents: their code runs, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import tiny_pipelines
from diffusers import DiffusionPipeline

from scoredistill.cli import main
from scoredistill.runs.folder import RunFolder
from scoredistill.studies import SCENE_STUDIES, STUDIES
from scoredistill.studies.conduct import VERDICTS
from tools import write_metrics_doc, write_studies_doc

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), *sorted((DOCS / "methods").glob("*.md"))]
EXTENDING = ROOT / "docs" / "extending.md"


def blocks(page: Path) -> list[tuple[str, str]]:
    """(title, code) of every Python block."""
    return re.findall(r"^```python ?(\S*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of docs/extending.md."""
    folder = tmp_path_factory.mktemp("extending")
    for title, code in blocks(EXTENDING):
        if title.endswith(".py"):
            (folder / title).write_text(code)
    return folder


def test_the_code_on_extending_runs(tmp_path: Path) -> None:
    tiny_pipelines.save("sd15", tmp_path)
    namespace: dict[str, object] = {"pipe": DiffusionPipeline.from_pretrained(tmp_path)}
    for _, code in blocks(EXTENDING):
        exec(compile("from __future__ import annotations\n" + code, EXTENDING.name, "exec"), namespace)
    assert {"dds", "Images", "Ball", "contrast"} <= namespace.keys()


def test_extensions_are_short() -> None:
    for title, code in blocks(EXTENDING):
        assert len(code.strip().splitlines()) <= 25, title
        assert all(len(line) <= 120 for line in code.splitlines())


def commands(page: Path) -> list[list[str]]:
    """The commands of a page, as words."""
    lines = re.findall(r"^    (scoredistill .*)$", page.read_text(), re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.usefixtures("toy_presets")
def test_a_method_a_prior_a_scene_and_a_metric_of_ones_own(
    files: Path, prior: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each through generate, resume, export and evaluate, with the commands of the page at toy size."""
    monkeypatch.chdir(files)
    small = {"image red": ["--steps", "2"], "image a": ["--steps", "2", "--prior", prior]}
    small["generate a"] = ["--steps", "2", "--prior", prior, "--resolution", "16", "--method.steps-per-unit", "2"]
    for words in commands(EXTENDING):
        extra = small.get(f"{words[0]} {words[1].split()[0]}", [])
        extra = ["--steps", "3"] if words[0] == "resume" else extra
        words = words[: words.index("--steps")] if "--steps" in words else words
        assert main([*words, *extra]) == 0, words
    assert "contrast" in capsys.readouterr().out
    folders = {"a-red-car-mine-0", "red-sdi-0", "a-red-soccer-ball-sdi-0"}
    assert {path.name for path in Path("runs").iterdir()} == folders
    assert RunFolder.open(files / "runs" / "a-red-car-mine-0").recipe.training.steps == 3
    assert (files / "runs" / "a-red-soccer-ball-sdi-0" / "mesh.obj").exists()


@pytest.mark.usefixtures("toy_presets")
def test_a_received_folder_brings_no_code(files: Path, prior: str, tmp_path: Path) -> None:
    """A recipe may name a file, but none inside its own run folder."""
    out = tmp_path / "run"
    flags = ["--steps", "2", "--prior", prior, "--out", str(out)]
    assert main(["image", "a red car", "--method", f"{files / 'mine.py'}:Mine", *flags]) == 0
    (out / "mine.py").write_text("raise SystemExit('executed')")
    config = out / "config.yaml"
    config.write_text(config.read_text().replace(str(files / "mine.py"), str(out / "mine.py")))
    assert main(["resume", str(out)]) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}, which is not there"


def test_the_page_of_studies_agrees_with_their_results() -> None:
    page = (ROOT / "docs" / "studies.md").read_text()
    results = write_studies_doc.taken_over()
    assert page == write_studies_doc.document(results), "run: python -m tools.write_studies_doc"
    assert VERDICTS.read_text() == write_studies_doc.listed(results), "run: python -m tools.write_studies_doc"
    assert set(re.findall(r"^`(\w+)`:", page, re.MULTILINE)) <= {*STUDIES, *SCENE_STUDIES}


def test_the_page_of_metrics_agrees_with_the_metrics() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == write_metrics_doc.document(), (
        "run: python -m tools.write_metrics_doc"
    )
