"""The run folder and its checkpoints: what is written comes back, and nothing is lost on the way."""

from __future__ import annotations

import errno
import logging
import os
import random
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

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


def newest(folder: Path) -> Path:
    return max(folder.glob("*.safetensors"))


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, STATE)
    assert same(STATE, checkpoint.read(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["000007.safetensors"]


@pytest.mark.parametrize("step", [3, 999_997, 1_000_003])
def test_the_newest_two_checkpoints_are_kept(tmp_path: Path, step: int) -> None:
    """By their number, not by the order of their names, in which 1000000 comes before 999999."""
    for index in (step, step + 2, step + 4):
        checkpoint.write(tmp_path, at(index))
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == [step + 2, step + 4]
    found = checkpoint.read(tmp_path)
    assert found is not None and found["index"] == step + 4
    assert checkpoint.read(tmp_path / "none") is None


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    foreign = ["notes.json", "999999.json", "model.safetensors", "000009.safetensors", "000001 (copy).safetensors"]
    for name in foreign:
        (tmp_path / name).write_bytes(save({"x": torch.zeros(3)}) if name.endswith("s") else b"[]")
    for index in (3, 7, 11):
        checkpoint.write(tmp_path, at(index))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*foreign, "000007.safetensors", "000011.safetensors"}
    assert same(at(11), checkpoint.read(tmp_path))


@pytest.mark.parametrize("harm", ["truncated", "emptied", "a folder", "a pipe", "a list", "of an earlier version"])
def test_damage_falls_back_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str) -> None:
    for index in (3, 7):
        checkpoint.write(tmp_path, at(index))
    path = newest(tmp_path)
    content = path.read_bytes()
    path.unlink()
    header = b'["not a header"]'
    contents = {
        "truncated": content[:-9],
        "emptied": b"",
        "a list": len(header).to_bytes(8, "little") + header,
        "of an earlier version": content.replace(checkpoint.FORMAT.encode(), b"scoredistill-0"),
    }
    if harm == "a folder":
        path.mkdir()
    elif harm == "a pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(contents[harm])
    with caplog.at_level(logging.WARNING):
        assert same(at(3), checkpoint.read(tmp_path))
    assert [record.message.startswith("checkpoint 000007 (") for record in caplog.records] == [True]


def test_a_file_that_claims_a_huge_header_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "000009.safetensors").write_bytes(b"0" * 100)
    tracemalloc.start()
    for index in (11, 13, 15):
        checkpoint.write(tmp_path, at(index))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert (tmp_path / "000009.safetensors").exists()


def test_a_flipped_bit_never_gives_another_state(tmp_path: Path) -> None:
    """Everything has a hash: tensors, learning rates, names and the index; a flip is noticed, or changes nothing."""
    checkpoint.write(tmp_path, at(7))
    path, rng, unchanged = newest(tmp_path), random.Random(0), 0
    content = path.read_bytes()
    header = 8 * (8 + int.from_bytes(content[:8], "little"))
    for bit in [*rng.sample(range(header), 1500), *rng.sample(range(header, 8 * len(content)), 200)]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert same(at(7), checkpoint.read(tmp_path)), f"bit {bit} changed the state silently"
            unchanged += 1
        except ValueError as error:
            assert "no whole checkpoint" in str(error)
    assert unchanged < 100, "only spaces and the like may change unnoticed"


def test_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, STATE)
    newest(tmp_path).write_bytes(b"")
    with pytest.raises(ValueError, match="no whole checkpoint"):
        checkpoint.read(tmp_path)


def test_a_state_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, at(3))
    with pytest.raises(FloatingPointError, match="/scene/table"):
        checkpoint.write(tmp_path, at(7) | {"scene": {"table": torch.tensor([1.0, torch.nan])}})
    assert same(at(3), checkpoint.read(tmp_path))


@pytest.mark.parametrize("call", range(2))  # the file, and the folder with its name
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
    assert same(at(3), found) or (call == 1 and same(at(7), found))
    assert not list(tmp_path.glob(".*"))


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


def test_a_folder_with_nothing_but_what_a_killed_process_left_is_free(tmp_path: Path) -> None:
    """Its lock, parts of files, a copy of the same picture; anything else is somebody's."""
    picture, run = tmp_path / "toy.png", tmp_path / "run"
    picture.write_bytes(b"a picture")
    recipe = fast("a toy", prior="toybox-pose", picture=str(picture))
    run.mkdir()
    for name in (".lock", ".config-abcdefgh.part.yaml", ".picture-01234567.part.png"):
        (run / name).write_text("{")
    (run / "picture.png").write_bytes(b"another picture")
    with pytest.raises(ValueError, match="is not empty"):
        RunFolder.create(recipe, run)
    (run / "picture.png").write_bytes(b"a picture")
    RunFolder.create(recipe, run)
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "picture.png"]


def test_a_config_edited_by_hand_is_noticed_whatever_the_edit(tmp_path: Path) -> None:
    folder = RunFolder.create(fast("a red car"), tmp_path / "run")
    assert not RunFolder.open(folder.path).edited
    text = (folder / "config.yaml").read_text()
    for old, new in (("steps: 100", "steps: 301"), ("a red car", "a red cat"), ("steps: 100", "steps:  100")):
        (folder / "config.yaml").write_text(text.replace(old, new, 1))
        assert RunFolder.open(folder.path).edited


def test_a_stray_picture_among_the_traces_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder.create(fast("a red car"), tmp_path / "run")
    for step in (1_000_000, 7):
        folder.trace(step, {"1-render": torch.rand(3, 8, 8)})
    for stray in ("holiday.png", "000001.png", "1-render.png"):
        (folder / "trace" / stray).write_bytes(b"not a picture")
    assert list(folder.traces()) == [7, 1_000_000]
    assert not caplog.records
    os.mkfifo(folder / "trace" / "000009-1-render.png")
    assert list(folder.traces()) == [7, 1_000_000]
    caplog.clear()
    path = folder.traces()[7]["1-render"]
    content = path.read_bytes()
    for place in (60, len(content) - 1):
        caplog.clear()
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert list(folder.traces()) == [1_000_000]
        assert str(path) in caplog.text


@pytest.mark.parametrize("name", ["checkpoint", "trace"])
def test_links_out_of_the_folder_are_not_followed(tmp_path: Path, name: str) -> None:
    folder = RunFolder.create(fast("a red car"), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link"), folder.held():
        pass


def test_a_config_that_vanishes_is_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder.create(fast("a red car"), tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    folder.check_config()
    folder.check_config()
    assert RunFolder.open(tmp_path / "run").recipe == folder.recipe
    assert len(caplog.records) == 1


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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps: 100", "stepz: 300", "training has no setting 'stepz'; nearest known: steps"),
        ("steps: 100", "steps: 1.5", "training.steps must be int, got 1.5"),
        ("steps: 100", "steps: 0", "training.steps must be in"),
        ("  steps: 100\n", "", "training.steps is missing"),
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
