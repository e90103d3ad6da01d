"""The command line from end to end, on a run of toy size."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import FLAGS, PROMPT, SMALL

import scoredistill
from scoredistill.cli import main
from scoredistill.cli.commands import COMMANDS
from scoredistill.cli.method_help import field_comments
from scoredistill.config import Config, hints
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.sdi import SDI
from scoredistill.methods.sds import SDS
from scoredistill.recipes.fast import fast
from scoredistill.runs.folder import RunFolder

WRITTEN = {"config.yaml", "log.jsonl", "checkpoint", "trace", "preview.png", "metrics.json", "index.html"}


pytestmark = pytest.mark.usefixtures("toy_presets")


@pytest.fixture(scope="module")
def finished(prior: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that `generate` finished."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["generate", PROMPT, "--prior", prior, "--out", str(folder), *FLAGS]) == 0
    return folder


def test_generate_leaves_a_whole_folder(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == WRITTEN | {"turntable.mp4", "mesh.glb"}
    records = RunFolder.open(finished).log()
    assert [record["step"] for record in records] == list(range(6))
    assert all(
        {"t", "grad_norm", "regularization", "residual", "opacity", "seconds"} <= record.keys() for record in records
    )
    assert json.loads((finished / "metrics.json").read_text())["steps"] == 6
    assert len(list((finished / "trace").glob("*.png"))) == 6 * 4
    page = (finished / "index.html").read_text()
    assert f"scoredistill generate &#x27;{PROMPT}&#x27;" in page
    assert "<model-viewer" in page


def test_a_config_makes_the_same_run_again(finished: Path, tmp_path: Path) -> None:
    config = str(finished / "config.yaml")
    assert main(["generate", "--config", config, "--out", str(tmp_path / "again")]) == 0
    logs = [RunFolder.open(folder).log() for folder in (finished, tmp_path / "again")]
    for record in (record for log in logs for record in log):
        del record["seconds"]
    assert logs[0] == logs[1]


def test_flags_replace_what_a_config_says(finished: Path, tmp_path: Path) -> None:
    config = str(finished / "config.yaml")
    out = tmp_path / "again"
    flags = ["--out", str(out), "--seed", "0", "--steps", "2", "--method.tau", "0"]
    assert main(["generate", "a blue car", "--config", config, *flags]) == 0
    recipe = RunFolder.open(out).recipe
    assert (recipe.prompt.text, recipe.training.steps, recipe.training.resolution) == ("a blue car", 2, 16)
    assert recipe.method == replace(RunFolder.open(finished).recipe.method, tau=0.0)


def test_a_config_with_another_method_takes_that_methods_own_settings(finished: Path, tmp_path: Path) -> None:
    config, out = str(finished / "config.yaml"), tmp_path / "again"
    assert main(["generate", "--config", config, "--out", str(out), "--method", "sds", "--steps", "2"]) == 0
    assert RunFolder.open(out).recipe.method == SDS.toybox(flat=False)
    assert main(["generate", "--config", config, "--out", str(tmp_path / "c"), "--preset", "paper"]) == 2


def test_image_makes_several_at_once(prior: str, tmp_path: Path) -> None:
    flags = ["--steps", "2", "--scene.count", "3", "--method.steps-per-unit", "2", "--out", str(tmp_path / "run")]
    assert main(["image", PROMPT, "--prior", prior, *flags]) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == WRITTEN
    assert main(["render", str(tmp_path / "run")]) == 2


@pytest.mark.parametrize("flags", [["--method.no-anneal"], ["--method.anneal", "--method.weight", "constant"]])
def test_sds_has_flags_of_its_own(prior: str, tmp_path: Path, flags: list[str]) -> None:
    common = ["--steps", "2", *SMALL[2:], "--out", str(tmp_path / "run")]
    assert main(["generate", PROMPT, "--method", "sds", "--prior", prior, *common, *flags]) == 0


def test_samples_repeat_and_differ_by_seed(prior: str, tmp_path: Path) -> None:
    pictures = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        path = tmp_path / f"{name}.png"
        flags = ["--count", "2", "--steps", "2", "--seed", str(seed), "--out", str(path)]
        assert main(["sample", PROMPT, "--prior", prior, *flags]) == 0
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_samples_without_a_name_do_not_replace_others(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for scale in ("1", "2"):
        assert main(["sample", PROMPT, "--prior", prior, "--count", "1", "--steps", "2", "--scale", scale]) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"a-red-car-ddim-0.png", "a-red-car-ddim-0-2.png"}


@pytest.mark.parametrize(("kind", "start"), [("glb", b"glTF"), ("obj", b"# score"), ("ply", b"ply\n")])
def test_exports_begin_as_their_format_does(finished: Path, tmp_path: Path, kind: str, start: bytes) -> None:
    named, plain = tmp_path / f"model.{kind.upper()}", tmp_path / "model"
    for path, flags in ((named, []), (plain, ["--format", kind])):
        assert main(["export", str(finished), *flags, "--resolution", "24", "--out", str(path)]) == 0
        assert path.read_bytes().startswith(start)


def test_render_films_and_looks(finished: Path, tmp_path: Path) -> None:
    film, views = tmp_path / "film.mp4", tmp_path / "views.png"
    assert main(["render", str(finished), "--frames", "2", "--resolution", "16", "--out", str(film)]) == 0
    flags = ["--azimuths-deg", "0", "-90", "--resolution", "16", "--out", str(views)]
    assert main(["render", str(finished), *flags]) == 0
    assert b"ftyp" in film.read_bytes()[:16]
    assert views.read_bytes().startswith(b"\x89PNG")


def test_evaluate_prints_a_row_for_each_run(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no number is null in the file, as JSON has neither NaN nor infinities."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "mine.py").write_text("def nothing(rgb, prompt):\n    return float('nan')\n")
    flags = ["--metric", f"{tmp_path / 'mine.py'}:nothing", "--out", str(tmp_path / "rows.json")]
    assert main(["evaluate", str(finished), str(tmp_path / "run"), *flags]) == 0
    assert capsys.readouterr().out.count("| run |") == 3  # the head, and two runs in a folder named "run"
    rows = json.loads((tmp_path / "rows.json").read_text(), parse_constant=pytest.fail)
    assert [row["nothing"] for row in rows] == [None, None]
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    assert main(["evaluate", str(finished), str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "run has no checkpoint yet" in printed.err


def test_resume_of_a_finished_run_changes_nothing(finished: Path) -> None:
    before = (finished / "log.jsonl").read_bytes()
    assert main(["resume", str(finished)]) == 0
    assert (finished / "log.jsonl").read_bytes() == before


def test_methods_priors_and_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert [main([name]) for name in ("methods", "priors", "doctor")] == [0, 0, 0]
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in METHODS)
    assert out.count("grad = ") == len(METHODS)
    assert main(["methods", "--cite", "sdi"]) == 0
    assert capsys.readouterr().out == SDI.citation + "\n"


def test_help_lists_every_command_and_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["generate", "--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    short = (
        "method",
        "scene",
        "prior",
        "preset",
        "seed",
        "steps",
        "batch",
        "resolution",
        "device",
        "out",
        "scale",
        "image",
    )
    assert all(f"--{name} " in out for name in short)
    dotted = [f"--method.{name}" for name in hints(SDI)] + ["--scene.samples", "--scene.regularizers.sparsity.start"]
    dotted += ["--scene.grid.levels", "--views.radius-min", "--training.save-every", "--output.texture", "--prior.lora"]
    assert all(name.replace("_", "-") in out for name in dotted)


def test_every_setting_has_a_help_text() -> None:
    """The comment behind a field is its help on the command line."""
    for recipe in (fast(scene="nerf"), fast(scene="splats"), fast(scene="image")):
        for config in configs(recipe):
            missing = [
                name
                for name, comment in field_comments(type(config)).items()
                if not comment and not isinstance(getattr(config, name), Config)
            ]
            assert not missing, f"{type(config).__name__}: {missing}"
    for name, kind in COMMANDS.items():
        assert all(field_comments(kind).values()), name


def configs(config: Config) -> list[Config]:
    """A configuration and all those in it."""
    nested = (getattr(config, name) for name in hints(type(config)))
    return [config, *(each for node in nested if isinstance(node, Config) for each in configs(node))]


def test_import_is_light() -> None:
    """The face imports nothing that only some commands need."""
    heavy = {"trimesh", "PIL", "imageio_ffmpeg", "tyro", "rich", "scipy", "mcubes"}
    code = f"import sys, scoredistill; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_face_has_what_it_names() -> None:
    assert all(hasattr(scoredistill, name) for name in scoredistill.__all__)


def test_a_reader_may_leave_early() -> None:
    """`scoredistill methods | head -n 1` prints that line only."""
    command = f"{sys.executable} -m scoredistill methods | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")
