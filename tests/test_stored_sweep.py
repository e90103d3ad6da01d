"""Sweeps whose results are at a URL: nothing is lost, nothing is made twice, as with a folder of one's own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_folder import same
from test_sweep import flags, forked, states, steps_logged, sweep, tiny_plan

from scoredistill.cli import main, stored
from scoredistill.recipes.fast import fast
from scoredistill.recipes.recipe import changed
from scoredistill.runs.folder import RunFolder
from scoredistill.sweep.conduct import PLAN
from scoredistill.sweep.engine import End
from scoredistill.sweep.storage import Storage
from scoredistill.sweep.stored import Place, StoredTrial, conduct_stored
from scoredistill.sweep.trial import FAILURE, Trial

pytestmark = [
    pytest.mark.usefixtures("toy_presets"),
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals"),
]


class InProcess:
    """An engine without processes: it calls the worker's command itself."""

    def run(self, trials: Sequence[Trial], started: Any, stop: Any) -> Iterator[End]:
        handler = signal.getsignal(signal.SIGTERM)
        for trial in trials:
            trial.prepare()
            started(trial)
            _, url, scratch, every, *rest = trial.words()
            with contextlib.redirect_stdout(None):
                code = stored.resume(url, scratch, float(every), rest)
            signal.signal(signal.SIGTERM, handler)
            yield End(trial, code, "", 0.0)


def place(tmp_path: Path) -> Place:
    return Place(Storage.open(f"file://{tmp_path}/there"), str(tmp_path / "scratch"), 0.1)


def conducted(plan: Any, where: Place, ends: list[End], *, retries: int = 0) -> Any:
    def report(tally: Any, end: End | None) -> None:
        ends.extend([] if end is None else [end])

    return conduct_stored(plan, where, InProcess(), retries=retries, report=report, stop=lambda: False)


def test_killed_it_goes_on_anywhere_from_what_is_stored(prior: str, tmp_path: Path) -> None:
    plan = tiny_plan(prior, prompt="a red car", seed="0..1")
    plan.base["steps"] = 8  # type: ignore[index]
    sweep(plan, tmp_path / "undisturbed")
    where, there = place(tmp_path), tmp_path / "there"
    process = forked(lambda: conducted(plan, where, []))
    while process.is_alive() and not list(there.glob("*/checkpoint/*.safetensors")):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    for owner in there.glob("**/.owner"):
        owner.unlink()  # silent for long
    shutil.rmtree(tmp_path / "scratch")  # the machine is lost
    ends: list[End] = []
    assert conducted(plan, where, ends).complete
    ours, expected = states(there), states(tmp_path / "undisturbed")
    assert len(expected) == 2 and ours.keys() == expected.keys()
    for name, state in expected.items():
        assert same(ours[name]["scene"], state["scene"])
        assert [record["step"] for record in RunFolder.open(there / name).log()] == list(range(8))
    ends.clear()
    assert conducted(plan, where, ends).complete and not ends, "what is done is not repeated"


def test_a_lost_connection_is_a_failure_of_its_attempt_and_loses_nothing(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where, there = place(tmp_path), tmp_path / "there"
    upload = Storage.upload

    def lost(storage: Storage, file: Path, name: str) -> None:
        if name == "metrics.json":
            raise ConnectionResetError("the connection was lost")
        upload(storage, file, name)

    monkeypatch.setattr(Storage, "upload", lost)
    ends: list[End] = []
    tally = conducted(tiny_plan(prior, prompt="a red car"), where, ends)
    (name, failure), *_ = tally.failed.items()
    assert failure.attempts == 1 and ends[0].code == 2
    assert "the connection was lost" in capsys.readouterr().err
    assert json.loads((there / name / FAILURE).read_text())["attempts"] == 1
    monkeypatch.undo()
    log = (there / name / "log.jsonl").read_bytes()
    assert conducted(tiny_plan(prior, prompt="a red car"), where, ends, retries=1).complete
    assert (there / name / "metrics.json").is_file() and not (there / name / FAILURE).exists()
    assert (there / name / "log.jsonl").read_bytes() == log, "the run itself is not repeated"


@pytest.mark.parametrize("name", ["cat.png", "cat"])
def test_the_picture_of_a_run_is_in_the_storage_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a picture")
    recipe = changed(fast("a red car"), "prompt.picture.file", str(tmp_path / name))
    where = place(tmp_path)
    trial = StoredTrial(tmp_path / "here", recipe, where.storage, where)
    trial.prepare()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    replace(trial, path=elsewhere).renew()
    assert Path(Trial.open(elsewhere).recipe.prompt.picture.file).read_bytes() == b"a picture"


def test_the_command_with_processes(prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, there = f"file://{tmp_path}/there", tmp_path / "there"
    more = ["--scratch", str(tmp_path / "scratch"), "--upload-every", "0.1"]
    words = ["sweep", "--out", url, *more, *flags(prior, tmp_path)[3:], "method=sds", "steps=40"]
    process = forked(lambda: main(words))
    while process.is_alive() and steps_logged(there) < 2:
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(60)
    assert main(["sweep", f"{url}/{PLAN}", "--out", url, *more, "--dry-run"]) == 0
    assert "1 run in file://" in capsys.readouterr().out
    assert main(["sweep", f"{url}/{PLAN}", "--out", url, *more]) == 0
    run = RunFolder.open(next(there.glob("*/config.yaml")).parent)
    assert [record["step"] for record in run.log()] == list(range(40))
    assert not list(there.glob("**/.*")), "neither owners nor parts are left"
    assert not list((tmp_path / "scratch").glob("**/checkpoint")), "what is stored needs no room here"


def test_on_ray(prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    url, there = f"file://{tmp_path}/there", tmp_path / "there"
    more = ["--engine", "ray", "--scratch", str(tmp_path / "scratch")]
    assert main(["sweep", "--out", url, *more, *flags(prior, tmp_path)[3:], "method=sds"]) == 0
    assert len(list(there.glob("*/metrics.json"))) == 1 and not list(there.glob("**/.*"))


def test_bad_urls_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for words, message in [
        (["--out", "s4://x/y"], "Protocol not known: s4"),
        (["--out", f"file://{tmp_path}/file/x"], "cannot be re"),
        (["--out", str(tmp_path / "x"), "--scratch", "y"], "--scratch is a setting for results at a URL"),
    ]:
        assert main(["sweep", *words, "--set", "prompt=a red car"]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
