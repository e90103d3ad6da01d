"""Every failure is one line on stderr with the right exit code, and no result is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from tiny import FLAGS, PROMPT, SMALL, empty

from scoredistill.cli import main
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.recipes.presets import PRESETS
from scoredistill.runs import checkpoint
from scoredistill.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("toy_presets")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="module")
def original(prior: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["generate", PROMPT, "--prior", prior, "--out", str(folder), *FLAGS]) == 0
    return folder


@pytest.fixture
def finished(original: Path, out: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(original, out))


@pytest.fixture
def generate(prior: str, out: Path) -> list[str]:
    return ["generate", PROMPT, "--prior", prior, "--out", str(out), *FLAGS]


def complaint(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> str:
    """The one line that a failing command prints."""
    assert main(arguments) == code
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("scoredistill: error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "a red cra"], "'cra'; nearest known words: "),
        (["generate", PROMPT, "--method", "sdx"], "unknown method 'sdx'; nearest known: "),
        (["generate", PROMPT, "--tua", "3"], "Unrecognized options: --tua"),
        (["generate", PROMPT, "--stpes", "3"], "did you mean --steps?"),
        (["generate", PROMPT, "--scene.smaples=3"], "did you mean --scene.samples"),
        (["sample", PROMPT, "--cuont", "3"], "did you mean --count?"),
        (["generate", PROMPT, "--method.tau", "x"], "--method.tau"),
        (["generate", PROMPT, "--method", "sds", "--method.tau", "1"], "Unrecognized options: --method.tau"),
        (["generate", PROMPT, "--method.tau", "-1"], "--method: tau must be in [0, 1], got -1"),
        (["generate", PROMPT, "--method.t-min", ".9", "--method.t-max", ".1"], "t_min must not exceed t_max"),
        (["generate", PROMPT, "--scene.lr-grid", "-1"], "lr_grid must be"),
        (["generate", PROMPT, "--scene.lr-grid", "nan"], "lr_grid must be"),
        (["generate", PROMPT, "--steps", "0"], "steps must be in [1,"),
        (["generate", PROMPT, "--steps", "4", "--training.steps", "5"], "are the same setting"),
        (["generate", PROMPT, "--prompt.text", "a blue boat"], "the prompt and --prompt.text are the same setting"),
        (["generate", PROMPT, "--seed", "3", "--training.seed", "4"], "--training.seed are the same setting"),
        (["image", PROMPT, "--prior", "toybox", "--prior.name=toybox-sd"], "--prior and --prior.name are the same"),
        (["generate", PROMPT, "--method", "csd", "--scale", "5"], "has no setting scale"),
        (["generate", PROMPT, "--method", "sds", "--method", "sdi"], "--method is given 2 times"),
        (["generate", PROMPT, "--method", "nowhere.py:Mine"], "there is no file"),
        (["generate", PROMPT, "--scene", "splat"], "unknown scene 'splat'; nearest known: splats"),
        (["generate", PROMPT, "--preset", "fats"], "unknown preset 'fats'; nearest known: fast"),
        (["generate", PROMPT, "--device", "tpu"], "unknown device 'tpu'"),
        (["generate"], "no prompt"),
        (["generate", "--config", "/nowhere/config.yaml"], "there is no file /nowhere/config.yaml"),
        (["genrate", PROMPT], "unknown command 'genrate'; nearest known: generate"),
        ([], "expected one of the commands generate"),
        (["resume"], "--help"),
        (["resume", "/nowhere"], "/nowhere is not a run folder"),
        (["export", "/nowhere"], "/nowhere is not a run folder"),
        (["evaluate"], "name the folders"),
        (["evaluate", "/nowhere", "/nowhere/../nowhere"], "is named twice"),
        (["resume", "--steps", "5", "/nowhere"], "the folder of the run comes first"),
        (["resume", "--", "-x"], "the folder of the run comes first"),
        (["generate", "-a red car"], "put -- before a prompt, as in: scoredistill generate -- '-a red car'"),
        (["generate", PROMPT, "--negative", "-ugly"], "--flag=-ugly"),
        (["generate", PROMPT, "--negative=-ugly"], "unknown Toybox word '-ugly'"),
        (["generate", "a red \udcff"], "is not UTF-8 text"),
        (["generate", " \t"], "no prompt"),
        (["generate", "..."], "'...' holds no Toybox word"),
        (["generate", "-"], "unknown Toybox word '-'"),
        (["image", PROMPT, "--scene", "nerf"], "makes the scene 'image' only: leave out --scene, or use generate"),
        (["generate", PROMPT, "--method", ""], "--method has an empty value"),
        (["generate", PROMPT, "--image="], "--image has an empty value"),
        (["generate", PROMPT, "--seed", "1", "--seed=2"], "--seed is given 2 times"),
        (["generate", PROMPT, "--method.anneal", "--method.no-anneal"], "--method.anneal is given 2 times"),
        (["generate", PROMPT, "--config", "a", "--config", "b"], "--config is given 2 times"),
        (["sample", PROMPT, "--lora", "a", "--lora", "b"], "--lora is given 2 times: give it once, with all"),
        (["generate", PROMPT, "--prompt.picture.elevation-deg", "30"], "has no effect without a picture"),
        (["generate", PROMPT, "--prompt.picture.elevation-deg", "nan"], "elevation_deg must be in [-89, 89]"),
        (["generate", PROMPT, "--seed", "-1"], "seed must be in [0,"),
        (["generate", PROMPT, "--seed", str(2**63)], "seed must be in [0,"),
        (["generate", PROMPT, "--steps", "9" * 20], "steps must be in [1,"),
        (["generate", PROMPT, "--steps", "9" * 400], "steps must be in [1,"),
        (["sample", PROMPT, "--count", "100000000"], "count must be in [1, 1024]"),
        (["sample", PROMPT, "--scale", "nan"], "scale must be in [0, 1000], got nan"),
        (["sample", PROMPT, "--seed", str(2**63)], "seed must be in [0,"),
        (["study", "sdi-equals-ddim", "--captions", "31"], "captions must be in [1, 30]"),
        (["methods", "--cite", "sdx"], "unknown method"),
        (["methods", "--cite", "sdi", "--preset", "x"], "unknown preset 'x'"),
        (["methods", "sds", "--cite", "sdi"], "give either a method to describe, 'sds', or one to cite, 'sdi'"),
        (["evaluate", "run", "--clip", "/nowhere"], "clip has no effect without one of its metrics"),
        (["sweep", "--prompts", "toybox20", "--out", "x", "--devices", "gpu", "--dry-run"], "unknown device 'gpu'"),
        (["sample", PROMPT, "--count", "0"], "error: count must be in [1, 1024], got 0; see: scoredistill sample"),
        (["sample", PROMPT, "--steps", "0"], "steps must be in [1, 1000], got 0"),
        (["sample", PROMPT, "--out", "s.jpg"], "s.jpg will hold PNG, so its name must end in .png"),
        (["render", "run", "--frames", "0"], "frames must be in [1, 3600], got 0"),
        (["render", "run", "--resolution", "0"], "resolution must be in [8, 4096], got 0"),
        (["render", "run", "--elevation-deg", "nan"], "elevation_deg must be in [-89, 89], got nan"),
        (["render", "run", "--azimuths-deg", *["1"] * 65], "azimuths_deg must be at most 64 angles, got 65"),
        (["render", "run", "--out", "t.gif"], "t.gif will hold MP4, so its name must end in .mp4"),
        (["render", "run", "--azimuths-deg", "0", "--out", "t.mp4"], "its name must end in .png"),
        (["export", "run", "--threshold", "1e-300"], "threshold must be 0 or in [0.001, 10000], got 1e-300"),
        (["export", "run", "--texture", "7"], "texture must be 0 or in [16, 8192], got 7"),
        (["export", "run", "--faces", "1"], "faces must be 0 or in [4, 1e+07], got 1"),
        (["export", "run", "--resolution", "100000"], "resolution must be in [8, 1024], got 100000"),
        (["export", "run", "--format", "glbx"], "unknown format 'glbx'; nearest known: glb"),
        (["export", "run", "--out", "model.fbx"], "the suffix of model.fbx names no format: take one of .glb, .obj"),
        (["export", "run", "--out", "model"], "the suffix of model names no format"),
        (["export", "run", "--format", "splat-ply", "--faces", "100"], "faces has no effect on splat-ply"),
        (["export", "run", "--out", "model.ply", "--texture", "64"], "texture has no effect on ply"),
        (["render", "run", "--azimuths-deg", "0", "--frames", "2"], "frames has no effect on a picture of views"),
        (["export", "run", "--format", "glb", "--out", "model.obj"], "model.obj will hold GLB"),
        (["export", "run", "--format", "glb", "--out", "/dev/full"], "/dev/full is a device"),
        (["export", "run", "--out", "/nowhere/model.obj"], "there is no folder /nowhere to write model.obj into"),
        (
            ["evaluate", "run", "--out", "table.txt"],
            "table.txt will hold JSON or CSV, so its name must end in .json or .csv",
        ),
        (["generate", PROMPT, "--prior", "nowhere.safetensors"], "there is no file"),
    ],
)
def test_bad_arguments(
    capsys: pytest.CaptureFixture[str], prior: str, out: Path, arguments: list[str], message: str
) -> None:
    if arguments[:1] == ["generate"] and len(arguments) > 1:
        arguments = [*arguments, "--out", str(out)]
        arguments += [] if "--prior" in arguments else ["--prior", prior]
    assert message in complaint(capsys, arguments, 2)
    assert not out.exists()


def test_a_prompt_that_begins_with_a_dash(capsys: pytest.CaptureFixture[str], prior: str, out: Path) -> None:
    words = ["generate", "--prior", prior, "--out", str(out)]
    assert "unknown Toybox word '-a'" in complaint(capsys, [*words, "--", "-a red car"], 2)


def test_unwritable_folder(capsys: pytest.CaptureFixture[str], generate: list[str], out: Path) -> None:
    out.write_text("a file")
    assert "cannot write the run folder" in complaint(capsys, generate, 2)
    below = [word if word != str(out) else str(out / "below") for word in generate]
    assert "Not a directory" in complaint(capsys, below, 2)
    assert out.read_text() == "a file"


def test_another_runs_folder(capsys: pytest.CaptureFixture[str], generate: list[str], finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert "holds another run" in complaint(capsys, [word if word != "6" else "7" for word in generate], 2)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_checkpoint_of_another_version(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    for path in (finished / "checkpoint").glob("*.safetensors"):
        path.write_bytes(path.read_bytes().replace(checkpoint.FORMAT.encode(), b"scoredistill-0"))
    for command in ("resume", "export", "render", "evaluate"):
        assert "of another version" in complaint(capsys, [command, str(finished)], 2)


def test_a_run_without_a_checkpoint(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    for path in (finished / "checkpoint").iterdir():
        path.unlink()
    assert "scoredistill resume" in complaint(capsys, ["export", str(finished)], 2)
    assert main(["resume", str(finished)]) == 0  # from the start


@pytest.mark.parametrize(("good", "saved"), [(0, None), (3 * 3, 2)])  # 3 queries a step; saved at 0, 2 and 4
def test_nan_from_a_prior(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    generate: list[str],
    out: Path,
    good: int,
    saved: int | None,
) -> None:
    answers = iter(range(1000))
    true = ToyboxPrior.eps

    def eps(self: ToyboxPrior, *question: object) -> tuple[torch.Tensor, ...]:
        sane = next(answers) < good
        return tuple(noise if sane else torch.nan * noise for noise in true(self, *question))

    monkeypatch.setattr(ToyboxPrior, "eps", eps)
    flags = ["--method.t-min", "0.9", "--method.tau", "0"]  # int(2 t) = 1 inversion step and the forward one: 2 calls
    message = complaint(capsys, [*generate, *flags], 1)
    assert "not finite" in message
    assert str(out) in message
    assert (out / "log.jsonl").exists()
    state = RunFolder.open(out).load()
    if saved is None:
        assert state is None
        assert "no checkpoint yet" in message
        return
    assert state is not None
    assert f"checkpoint of step {state['index']}" in message
    assert (out / "preview.png").exists()
    assert json.loads((out / "metrics.json").read_text())["diverged"] is True
    monkeypatch.setattr(ToyboxPrior, "eps", true)
    assert main(["resume", str(out)]) == 0


def test_empty_volume(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, generate: list[str], out: Path
) -> None:
    monkeypatch.setitem(PRESETS, "fast", empty)
    message = complaint(capsys, generate, 1)
    assert "the volume is empty" in message
    assert str(out) in message
    for name in ("preview.png", "turntable.mp4", "metrics.json", "index.html"):
        assert (out / name).exists()
    assert not (out / "mesh.glb").exists()
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["diverged"] is True
    assert "empty" in metrics["reason"]
    assert "the volume is empty" in complaint(capsys, ["export", str(out)], 2)


@pytest.mark.parametrize("allowed", [1, 4, 9, 12])  # writes before the disk is full: two reach the disk per file
def test_full_disk(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    generate: list[str],
    out: Path,
    allowed: int,
) -> None:
    writes = iter(range(1000))
    true = os.fsync

    def full(descriptor: int) -> None:
        if next(writes) >= allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    message = complaint(capsys, generate, 1)
    assert "No space left on device" in message
    monkeypatch.setattr(os, "fsync", true)
    if (out / "config.yaml").exists():
        assert main(["resume", str(out)]) == 0
        assert [record["step"] for record in RunFolder.open(out).log()] == list(range(6))


OWN = """
import numpy, torch
from scoredistill import Distilled

def still(query, x):
    return Distilled(torch.zeros_like(x))

def broken(query, x):
    if query.progress > 0.5:
        raise RuntimeError("shapes do not match\\n  at line 3")
    return still(query, x)

def greedy(query, x):
    if query.progress > 0.5:
        torch.empty(1 << 60, dtype=torch.uint8)
    return still(query, x)

def greedy_in_numpy(query, x):
    if query.progress > 0.5:
        numpy.ones(1 << 58)
    return still(query, x)

def wrong(query, x):
    if query.progress > 0.5:
        return {}["key"]
    return still(query, x)
"""
NO_MEMORY = "more were asked for: --preset low-vram, a smaller --resolution or a smaller --batch takes less; "


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "error: shapes do not match; "),
        ("greedy", NO_MEMORY),
        ("greedy_in_numpy", NO_MEMORY),
        ("wrong", "mine.py, line 25: KeyError: 'key'; "),
    ],
)
def test_an_error_of_a_step_loses_nothing(
    capsys: pytest.CaptureFixture[str], generate: list[str], out: Path, tmp_path: Path, name: str, message: str
) -> None:
    """Whatever a step raises: the log, the newest checkpoint and a preview of it are in the folder, which resumes."""
    mine = tmp_path / "mine.py"
    mine.write_text(OWN)
    line = complaint(capsys, [*generate[: -len(FLAGS)], *SMALL, "--method", f"{mine}:{name}"], 1)
    assert message in line
    assert f"{out} holds the checkpoint of step 2, the log and a preview" in line
    assert (out / "preview.png").exists()
    mine.write_text(f"{OWN}\n{name} = still\n")
    assert main(["resume", str(out), "--accept-changes"]) == 0
    assert [record["step"] for record in RunFolder.open(out).log()] == list(range(6))


def test_no_memory_outside_a_run(capsys: pytest.CaptureFixture[str], finished: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("import torch\ndef metric(rgb, prompt):\n    return torch.empty(1 << 60, dtype=torch.uint8)\n")
    assert "out of memory" in complaint(capsys, ["evaluate", str(finished), "--metric", f"{mine}:metric"], 1)


def test_a_bug_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, generate: list[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("scoredistill.cli.generate.build", broken)
    assert "this is a bug" in complaint(capsys, generate, 1)
    monkeypatch.setenv("SCOREDISTILL_DEBUG", "1")
    with pytest.raises(KeyError, match="oops"):
        main(generate)


@pytest.mark.parametrize(
    "flags", [["--out", "new/folder/s.jpg"], ["--prior", "nowhere.safetensors", "--out", "new/s.png"]]
)
def test_a_bad_order_of_samples_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sample", PROMPT, *flags]) == 2
    assert not list(tmp_path.iterdir())
