"""Logging to trackers: what their own readers find, after a resumed run too; a failing one costs one line."""

from __future__ import annotations

import gc
import logging
import os
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import PROMPT, fast

from scoredistill.cli import main
from scoredistill.recipes.build import build
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.journal import record
from scoredistill.runs.trackers import Trackers, tracked
from scoredistill.runs.trackers.tensorboard import TensorBoard
from scoredistill.runs.trackers.tracker import Tracked

pytestmark = pytest.mark.usefixtures("toy_presets")

STEPS = 6
PREVIEW = 4  # the step after which there is a preview


def tracked_recipe(prior: str, *names: str) -> Recipe:
    """A tiny run in 2D that logs to these trackers."""
    recipe = fast(PROMPT, scene="image", prior=prior)
    sizes = {"training.steps": STEPS, "training.resolution": 16, "scene.count": 1, "training.save_every": 2}
    more = {"method.steps_per_unit": 2.0, "output.preview_every": PREVIEW + 1, "output.log": names}
    for name, value in (sizes | more).items():
        recipe = changed(recipe, name, value)
    return recipe


def run(folder: RunFolder) -> None:
    """All steps, logged."""
    with Trackers(folder) as trackers:
        for _ in record(folder, build(folder.recipe), trackers=trackers):
            pass


@pytest.fixture(scope="module")
def folder(prior: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that logs to all trackers, and goes on from the checkpoint before the last one, as after a crash."""
    place = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(place / "trackio"))
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
            patch.delenv(name, raising=False)
        run(RunFolder.create(tracked_recipe(prior, "tensorboard", "wandb", "trackio"), place / "run"))
        max((place / "run" / "checkpoint").iterdir()).unlink()  # its last step is taken again
        run(RunFolder.open(place / "run"))
    return place / "run"


def test_tensorboard_holds_every_step_once_and_the_pictures(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    log = RunFolder.open(folder).log()
    for name in ("grad_norm", "t", "residual"):
        found = [(event.step, np.float32(event.value)) for event in events.Scalars(name)]
        assert found == [(record["step"], np.float32(record[name])) for record in log]
    assert {"preview", "render", "denoised"} <= set(events.Tags()["images"])
    assert max(picture.step for picture in events.Images("preview")) == PREVIEW


def test_tensorboard_fails_in_the_step_that_the_disk_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not in a thread, whose traceback would be printed; and what it could not write is not tried again."""
    tracker = TensorBoard(Tracked(tmp_path, {}, 0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (tracker.file.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            tracker.scalars(0, {"grad_norm": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    tracker.close()
    gc.collect()
    assert capfd.readouterr().err == ""


def test_wandb_is_offline_and_both_processes_are_one_run(folder: Path) -> None:
    files = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    assert len({path.stem for path in files}) == 1
    rows = {}
    for path in files:
        records = wandb_records(path)
        config = {
            item.key or item.nested_key[0]: item.value_json for record in records for item in record.run.config.update
        }
        assert config["method.name"] == '"sdi"'
        for each in records:
            if each.WhichOneof("record_type") == "history":
                rows[each.history.step.num] = {item.nested_key[0]: item.value_json for item in each.history.item}
    log = RunFolder.open(folder).log()
    assert sorted(rows) == [record["step"] for record in log]
    assert [float(rows[record["step"]]["grad_norm"]) for record in log] == [record["grad_norm"] for record in log]
    assert "preview" in rows[PREVIEW]


def wandb_records(path: Path) -> list[Any]:
    """The records of a .wandb file: the log format of LevelDB, after a header of seven bytes, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, found, parts = path.read_bytes(), 7, [], b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(Record.FromString(parts))
            parts = b""
    return found


def test_trackio_holds_every_step_once_and_the_settings(folder: Path) -> None:
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = Api().runs("scoredistill")
    assert run.name.startswith("run-")
    assert run.config is not None
    assert run.config["training.seed"] == 0
    log = RunFolder.open(folder).log()
    found = [each for each in SQLiteStorage.get_logs("scoredistill", run.name, run_id=run.id) if "grad_norm" in each]
    assert [(each["step"], each["grad_norm"]) for each in found] == [(each["step"], each["grad_norm"]) for each in log]


def test_another_tracker_is_no_other_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trackers change no numbers: resume takes them, and a config.yaml without them is read."""
    assert main(["resume", str(folder), "--log"]) == 0
    assert RunFolder.open(folder).recipe.output.log == ()
    assert main(["resume", str(folder), "--log", "tensorbord"]) == 2
    assert "tensorboard" in capsys.readouterr().err


LOSS = """
import os, signal, subprocess, sys
from pathlib import Path
from scoredistill.runs.trackers.tracker import Tracked
from scoredistill.runs.trackers.wandb import WandB

tracker = WandB(Tracked(Path(sys.argv[1]), {}, 0))
tracker.scalars(0, {"t": 0.0})
children = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb"], capture_output=True, text=True).stdout.split()
for child in children:
    os.kill(int(child), signal.SIGKILL)
for step in range(1, 1000):
    try:
        tracker.scalars(step, {"t": 0.0})
    except OSError:
        sys.exit(len(children))
"""


@pytest.mark.skipif(shutil.which("pgrep") is None, reason="needs pgrep")
def test_a_lost_process_of_wandb_is_an_error_of_its_tracker_and_nothing_at_exit(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    found = subprocess.run(
        [sys.executable, "-c", LOSS, str(tmp_path)], capture_output=True, text=True, check=False, env=environment
    )
    assert (found.returncode, found.stderr) == (1, "")


class Broken:
    """A tracker that fails at its second step."""

    def __init__(self, run: Tracked) -> None:
        self.steps = 0

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.steps += 1
        if self.steps > 1:
            raise RuntimeError("database is locked\nby another")

    def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        pass

    def close(self) -> None:
        raise AssertionError("it was dropped before")


def test_a_tracker_that_fails_costs_one_line(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(tracked.KINDS, "tensorboard", Broken)
    folder = RunFolder.create(tracked_recipe(prior, "tensorboard"), tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        run(folder)
    (line,) = [each.getMessage() for each in caplog.records if "tensorboard" in each.getMessage()]
    assert line == "nothing more is logged to tensorboard, the run goes on: database is locked by another"
    assert len(folder.log()) == STEPS


def test_a_tracker_that_fails_at_its_pictures_costs_one_line_too(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Blind(Broken):
        def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
            raise RuntimeError("no room")

    monkeypatch.setitem(tracked.KINDS, "tensorboard", Blind)
    folder = RunFolder.create(tracked_recipe(prior, "tensorboard"), tmp_path / "run")
    files = folder.trace(0, {"1-render": torch.zeros(3, 4, 4), "2-noised": torch.zeros(3, 4, 4)})
    with caplog.at_level(logging.WARNING), Trackers(folder) as trackers:
        trackers.row({"step": 0, "loss": 1.0})
        trackers.pictures(0, files)
    assert [each.getMessage() for each in caplog.records] == [
        "nothing more is logged to tensorboard, the run goes on: no room"
    ]


def test_a_missing_library_is_one_line_before_anything_is_written(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    out = tmp_path / "run"
    assert main(["image", PROMPT, "--prior", prior, "--out", str(out), "--steps", "1", "--log", "trackio"]) == 2
    assert 'pip install "scoredistill[log]"' in capsys.readouterr().err
    assert not out.exists()
