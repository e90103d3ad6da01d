"""The run folder and its checkpoints: what is written comes back, and nothing is lost on the way."""

from __future__ import annotations

import errno
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from scoredistill import checkpoint
from scoredistill.folder import RunFolder, default_path, read_config
from scoredistill.run import Run, resolve

STATE = {
    "index": 7,
    "scene": {"table": torch.randn(5, 2), "age": torch.tensor(8)},
    "optimizer": {
        "state": {0: {"step": torch.tensor(8.0), "exp_avg": torch.randn(5, 2)}},
        "param_groups": [{"lr": 0.1 + 0.2, "betas": (0.9, 0.99), "maximize": False, "params": [0]}],
    },
    "dice": {"cameras": torch.Generator().manual_seed(3).get_state()},
    "memory": {"eps": torch.randn(1, 3, 4, 4, dtype=torch.float64).transpose(2, 3)},
}


def at(index: int) -> dict:
    return STATE | {"index": index}


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def newest(folder: Path, suffix: str) -> Path:
    return max(folder.glob(f"*{suffix}"))


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, STATE)
    assert same(STATE, checkpoint.read(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000007.json", "000007.safetensors"]


def test_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for index in (3, 7, 11):
        checkpoint.write(tmp_path, at(index))
    assert [path.stem for path in sorted(tmp_path.glob("*.json"))] == ["000007", "000011"]
    assert len(list(tmp_path.iterdir())) == 4
    assert checkpoint.read(tmp_path) is not None
    assert checkpoint.read(tmp_path / "none") is None


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("harm", ["truncated", "flipped", "gone", "emptied"])
def test_damage_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, harm: str
) -> None:
    for index in (3, 7):
        checkpoint.write(tmp_path, at(index))
    path = newest(tmp_path, suffix)
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        flipped = bytes([content[-9] ^ 1])
        harmed = {"truncated": content[:-9], "emptied": b"", "flipped": content[:-9] + flipped + content[-8:]}
        path.write_bytes(harmed[harm])
    with caplog.at_level(logging.WARNING):
        found = checkpoint.read(tmp_path)
    assert found is not None
    assert same(at(3), found) or (suffix == ".json" and harm == "flipped" and same(at(7), found))
    unnoticed = suffix == ".json" and harm == "gone"  # never finished: then it does not count at all
    assert len(caplog.records) == (0 if unnoticed or found["index"] == 7 else 1)


def test_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, STATE)
    newest(tmp_path, ".safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="no whole checkpoint"):
        checkpoint.read(tmp_path)


def test_another_format_is_an_error_not_damage(tmp_path: Path) -> None:
    for index in (3, 7):
        checkpoint.write(tmp_path, at(index))
    path = newest(tmp_path, ".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": checkpoint.FORMAT + 1}))
    with pytest.raises(ValueError, match=f"format {checkpoint.FORMAT + 1}"):
        checkpoint.read(tmp_path)


def test_a_state_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, at(3))
    with pytest.raises(FloatingPointError, match="/scene/table"):
        checkpoint.write(tmp_path, at(7) | {"scene": {"table": torch.tensor([1.0, torch.nan])}})
    assert same(at(3), checkpoint.read(tmp_path))


@pytest.mark.parametrize("call", range(4))  # file and directory, of tensors and JSON
def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    checkpoint.write(tmp_path, at(3))
    calls = iter(range(100))
    true = os.fsync

    def full(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(tmp_path, at(7))
    found = checkpoint.read(tmp_path)
    assert same(at(3), found) or (call == 3 and same(at(7), found))
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_keeps_its_run_but_not_its_place(tmp_path: Path) -> None:
    run = resolve(Run("a red car", method="sds", settings={"scale": 1 / 3}, out=tmp_path / "run"))
    folder = RunFolder.create(run)
    (tmp_path / "run").rename(tmp_path / "moved")
    again = RunFolder.open(tmp_path / "moved").run
    assert asdict(again) | {"out": None} == asdict(run) | {"out": None}
    assert resolve(again) == again
    assert folder.run.settings["scale"] == 1 / 3


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    run = resolve(Run("a red car", out=tmp_path / "run"))
    RunFolder.create(run)
    with pytest.raises(ValueError, match="this very run; go on with: scoredistill resume"):
        RunFolder.create(run)
    with pytest.raises(ValueError, match="another run"):
        RunFolder.create(resolve(Run("a blue car", out=tmp_path / "run")))
    with pytest.raises(ValueError, match="not empty"):
        RunFolder.create(resolve(Run("a blue car", out=tmp_path)))


def test_the_log_survives_a_torn_line_and_rewinds(tmp_path: Path) -> None:
    folder = RunFolder.create(resolve(Run("a red car", out=tmp_path / "run")))
    assert folder.log() == []
    for step in range(5):
        folder.append({"step": step, "t": 0.5})
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "t"')
    assert [record["step"] for record in folder.log()] == [0, 1, 2, 3, 4]
    assert folder.rewind(2) == folder.log() == [{"step": step, "t": 0.5} for step in range(3)]
    assert folder.rewind(-1) == folder.log() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt: a\nstepz: 3", "stepz"),
        ("prompt: a\nout: here", "out"),
        ("prompt: a\nsteps: 1.5", "steps must be int, got 1.5"),
        ("prompt: a\nlr: yes", "lr must be float, got True"),
        ("prompt: a\nsettings: 3", "settings must be dict, got 3"),
        ("prompt: a\nseed:", "seed must be int, got None"),
        ("prompt: 3", "prompt must be str, got 3"),
        ("- 3", "no prompt"),
        ("", "no prompt"),
        ("{", "not YAML"),
    ],
)
def test_a_bad_config_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(path)


def test_default_folders_are_named_after_the_run() -> None:
    assert default_path("A purple SNOWMAN, on a box!", "sdi", 3) == Path("runs/a-purple-snowman-on-a-box-sdi-3")
    assert "/" not in default_path("../../etc", "sdi", 0).name
