"""Every failure is one line on stderr with the right exit code, and no result is lost."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from tiny import FLAGS, PROMPT, SMALL, empty, fast

from scoredistill.cli import main
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.recipes.presets import PRESETS
from scoredistill.runs import checkpoint, renders
from scoredistill.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "fast", fast)
    monkeypatch.setattr(renders, "RESOLUTION", 32)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


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
        (["generate", PROMPT, "--method", "csd", "--scale", "5"], "has no setting scale"),
        (["generate", PROMPT, "--method", "sds", "--method", "sdi"], "--method is given 2 times"),
        (["generate", PROMPT, "--method", "nowhere.py:Mine"], "there is no file"),
        (["generate", PROMPT, "--scene", "splat"], "unknown scene 'splat'; nearest known: splats"),
        (["generate", PROMPT, "--preset", "fats"], "unknown preset 'fats'; nearest known: fast"),
        (["generate", PROMPT, "--device", "tpu"], "unknown device 'tpu'"),
        (["generate"], "no prompt"),
        (["generate", "--config", "/nowhere/config.yaml"], "No such file or directory: /nowhere/config.yaml"),
        (["genrate", PROMPT], "unknown command 'genrate'; nearest known: generate"),
        ([], "expected one of the commands generate"),
        (["resume"], "--help"),
        (["resume", "/nowhere"], "/nowhere is not a run folder"),
        (["export", "/nowhere"], "/nowhere is not a run folder"),
        (["evaluate"], "name the folders"),
        (["methods", "--cite", "sdx"], "unknown method"),
        (["sample", PROMPT, "--count", "0"], "count must be at least 1"),
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


def test_unwritable_folder(capsys: pytest.CaptureFixture[str], generate: list[str], out: Path) -> None:
    out.write_text("a file")
    assert "cannot write the run folder" in complaint(capsys, generate, 2)
    assert "Not a directory" in complaint(capsys, [*generate, "--out", str(out / "below")], 2)
    assert out.read_text() == "a file"


def test_another_runs_folder(capsys: pytest.CaptureFixture[str], generate: list[str], out: Path) -> None:
    assert main([word if word != "6" else "1" for word in generate]) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    assert "holds another run" in complaint(capsys, generate, 2)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_checkpoint_of_another_version(capsys: pytest.CaptureFixture[str], generate: list[str], out: Path) -> None:
    assert main(generate) == 0
    for path in (out / "checkpoint").glob("*.safetensors"):
        path.write_bytes(path.read_bytes().replace(checkpoint.FORMAT.encode(), b"scoredistill-0"))
    capsys.readouterr()
    for command in ("resume", "export", "render", "evaluate"):
        assert "of another version" in complaint(capsys, [command, str(out)], 2)


def test_a_run_without_a_checkpoint(capsys: pytest.CaptureFixture[str], generate: list[str], out: Path) -> None:
    assert main(generate) == 0
    for path in (out / "checkpoint").iterdir():
        path.unlink()
    capsys.readouterr()
    assert "scoredistill resume" in complaint(capsys, ["export", str(out)], 2)
    assert main(["resume", str(out)]) == 0  # from the start


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
        ("wrong", "KeyError: 'key'; this is a bug"),
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


def test_no_memory_outside_a_run(
    capsys: pytest.CaptureFixture[str], generate: list[str], out: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("import torch\ndef metric(rgb, prompt):\n    return torch.empty(1 << 60, dtype=torch.uint8)\n")
    assert main(generate) == 0
    capsys.readouterr()
    assert "out of memory" in complaint(capsys, ["evaluate", str(out), "--metric", f"{mine}:metric"], 1)


def test_a_bug_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, generate: list[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("scoredistill.cli.commands.build", broken)
    assert "this is a bug" in complaint(capsys, generate, 1)
    monkeypatch.setenv("SCOREDISTILL_DEBUG", "1")
    with pytest.raises(KeyError, match="oops"):
        main(generate)
