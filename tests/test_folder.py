"""The run folder and its checkpoints: what is written comes back, and nothing is lost on the way."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest
import torch

from scoredistill.recipes.fast import fast
from scoredistill.recipes.recipe import changed
from scoredistill.recipes.text import write_recipe
from scoredistill.runs import checkpoint
from scoredistill.runs.folder import RunFolder, read_config

STATE = {
    "index": 7,
    "scene": {"table": torch.randn(5, 2), "age": torch.tensor(8)},
    "optimizer": {
        "state": {0: {"step": torch.tensor(8.0), "exp_avg": torch.randn(5, 2)}},
        "param_groups": [{"lr": 0.1 + 0.2, "betas": (0.9, 0.99), "maximize": False, "params": [0]}],
    },
    "streams": {"cameras": torch.Generator().manual_seed(3).get_state()},
    "method": {"noise": torch.randn(1, 3, 4, 4, dtype=torch.float64).transpose(2, 3)},
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


def test_a_folder_holds_its_whole_recipe_but_not_its_place(tmp_path: Path) -> None:
    recipe = changed(fast("a red car", method="sds", prior="toybox"), "method.scale", 1 / 3)
    RunFolder.create(recipe, tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert RunFolder.open(tmp_path / "moved").recipe == recipe


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    recipe, other = fast("a red car"), fast("a blue car")
    RunFolder.create(recipe, tmp_path / "run")
    with pytest.raises(ValueError, match="this very run; go on with: scoredistill resume"):
        RunFolder.create(recipe, tmp_path / "run")
    with pytest.raises(ValueError, match="another run"):
        RunFolder.create(other, tmp_path / "run")
    with pytest.raises(ValueError, match="not empty"):
        RunFolder.create(other, tmp_path)


def test_a_run_from_a_picture_has_a_copy_of_it(tmp_path: Path) -> None:
    """The folder may move, and the picture elsewhere may vanish."""
    picture = tmp_path / "toy.PNG"
    picture.write_bytes(b"a picture")
    recipe = fast("a toy", prior="toybox-pose", picture=str(picture))
    folder = RunFolder.create(recipe, tmp_path / "run")
    picture.unlink()
    (tmp_path / "run").rename(tmp_path / "moved")
    copy = Path(RunFolder.open(tmp_path / "moved").recipe.prompt.picture.file)
    assert copy == tmp_path / "moved" / "picture.PNG"
    assert copy.read_bytes() == b"a picture"
    assert changed(folder.recipe, "prompt.picture.file", "") == changed(recipe, "prompt.picture.file", "")


def test_the_log_survives_a_torn_line_and_rewinds(tmp_path: Path) -> None:
    folder = RunFolder.create(fast("a red car"), tmp_path / "run")
    assert folder.log() == []
    for step in range(5):
        folder.append({"step": step, "t": 0.5})
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "t"')
    assert [record["step"] for record in folder.log()] == [0, 1, 2, 3, 4]
    assert folder.rewind(2) == folder.log() == [{"step": step, "t": 0.5} for step in range(3)]
    assert folder.rewind(-1) == folder.log() == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps: 300", "stepz: 300", "training has no setting 'stepz'; nearest known: steps"),
        ("steps: 300", "steps: 1.5", "training.steps must be int, got 1.5"),
        ("steps: 300", "steps: 0", "training.steps must be in"),
        ("  steps: 300\n", "", "training.steps is missing"),
        ("lr_mlp: 0.008", "lr_mlp: .nan", "scene.lr_mlp must be"),
        ("lr_mlp: 0.008", "lr_mlp: yes", "scene.lr_mlp must be float, got true"),
        ("seed: 0", "seed:", "training.seed must be int, got None"),
        ("text: a red car", "text: 3", "prompt.text must be str, got 3"),
        ("weight: sbar", "weight: sbarr", "unknown method.weight 'sbarr'; nearest known: sbar"),
        ("t_min: 0.387", "t_min: 0.99", "t_min must not exceed t_max"),
        ("name: sdi", "name: sdx", "unknown method 'sdx'"),
        ("name: sdi\n", "x: 1\n", "method lacks its name"),
        ("training:", "trainings:", "no section 'trainings'; nearest known: training"),
        ("format: 1", "format: 7", "format 7, this version reads format 1: use the version"),
    ],
)
def test_a_bad_config_names_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    text = write_recipe(fast("a red car"))
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as error:
        read_config(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("text", "message"), [("- 3", "not the configuration"), ("", "not the"), ("{", "not YAML")])
def test_what_is_no_config_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path / "config.yaml")


def test_a_folder_of_a_development_version_is_refused_with_the_command_that_starts_anew(tmp_path: Path) -> None:
    """Its config held the name of a preset instead of the preset's values, which have changed since."""
    old = "prompt: a purple snowman\nmethod: sds\nscene: nerf\npreset: fast\nseed: 3\nsettings:\n  scale: 7.5\n"
    (tmp_path / "config.yaml").write_text(old)
    with pytest.raises(
        ValueError, match="start anew with: scoredistill generate 'a purple snowman' --method sds"
    ) as error:
        RunFolder.open(tmp_path)
    assert "\n" not in str(error.value)
