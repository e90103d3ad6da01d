"""Sweeps: killed anywhere they go on where they stopped; failures are recorded, reported and retried as allowed."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_folder import same

from scoredistill.cli import main
from scoredistill.recipes.recipe import changed
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.lock import hold
from scoredistill.sweep import process as process_module
from scoredistill.sweep.conduct import PLAN, Tally, conduct
from scoredistill.sweep.engine import End, last_line
from scoredistill.sweep.local import LocalEngine
from scoredistill.sweep.plan import SweepConfig, trials
from scoredistill.sweep.trial import FAILURE, Trial

pytestmark = [
    pytest.mark.usefixtures("toy_presets"),
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals"),
]
FORK = multiprocessing.get_context("fork") if sys.platform != "win32" else None
KILLS = 3


def tiny_plan(prior: str, *entries: dict[str, Any], **grid: Any) -> SweepConfig:
    """Runs of two steps on one image of 16x16 pixels."""
    base = {"scene": "image", "prior": prior, "steps": 2, "scene.count": 1, "resolution": 16, "training.save_every": 1}
    return SweepConfig(base=base, grid=grid, list=entries)


class InProcess:
    """An engine without processes: it calls the command itself, one trial after the other."""

    def run(
        self, trials: Sequence[Trial], started: Callable[[Trial], object], stop: Callable[[], bool]
    ) -> Iterator[End]:
        for trial in trials:
            if stop():
                return
            trial.prepare()
            started(trial)
            with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
                code = main(["resume", str(trial.path)])
            yield End(trial, code, last_line(errors.getvalue()) if code else "", 0.0)


def sweep(plan: SweepConfig, folder: Path, *, retries: int = 0, ends: list[End] | None = None) -> Tally:
    """A sweep without processes; its ends go to `ends`."""
    found = [] if ends is None else ends

    def report(tally: Tally, end: End | None) -> None:
        found.extend([] if end is None else [end])

    return conduct(plan, folder, InProcess(), retries=retries, report=report, stop=lambda: False)


def forked(work: Callable[[], object]) -> Any:
    """Work in a process of its own that can be killed; in one thread, since a fork has none of the others."""
    assert FORK is not None

    def alone() -> None:
        torch.set_num_threads(1)
        work()

    process = FORK.Process(target=alone)
    process.start()
    return process


def states(folder: Path) -> dict[str, dict]:
    found = {path.name: RunFolder.open(path).load() for path in folder.iterdir() if path.is_dir()}
    assert all(state is not None for state in found.values())
    return found  # type: ignore[return-value]


def steps_logged(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*/log.jsonl"))


def test_killed_at_random_moments_nothing_is_lost_and_nothing_is_made_twice(prior: str, tmp_path: Path) -> None:
    plan = tiny_plan(prior, prompt="a red car", method=["sjc", "sds"], seed="0..2")
    undisturbed = forked(lambda: sweep(plan, tmp_path / "undisturbed"))
    rng, folder = random.Random(0), tmp_path / "killed"
    undisturbed.join(120)
    assert undisturbed.exitcode == 0
    finished: dict[str, int] = {}
    for kill in range(KILLS):
        process = forked(lambda: sweep(plan, folder))
        while process.is_alive() and steps_logged(folder) < 3 * kill + 1:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        for path in folder.glob("*/metrics.json"):
            assert finished.setdefault(path.parent.name, path.stat().st_mtime_ns) <= path.stat().st_mtime_ns
        done = [trial for trial in trials(plan, folder) if trial.state() == "done"]
        finished = {trial.name: (trial.path / "metrics.json").stat().st_mtime_ns for trial in done}
    ends: list[End] = []
    assert sweep(plan, folder, ends=ends).complete
    assert {end.trial.name for end in ends}.isdisjoint(finished), "what is done is not repeated"
    for name, moment in finished.items():
        assert (folder / name / "metrics.json").stat().st_mtime_ns == moment
    ours, expected = states(folder), states(tmp_path / "undisturbed")
    assert len(expected) == 6 and ours.keys() == expected.keys()
    for name, state in expected.items():
        assert same(ours[name]["scene"], state["scene"])
        assert [record["step"] for record in RunFolder.open(folder / name).log()] == [0, 1]
    ends.clear()
    assert sweep(plan, folder, ends=ends).complete and not ends


NOT_FINITE = """
import torch
from scoredistill import Distilled

def nan(query, x):
    return Distilled(torch.full_like(x, float("nan")))
"""


def test_trials_that_fail_stop_no_other_and_are_retried_as_allowed(prior: str, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(NOT_FINITE)
    car = {"prompt": "a red car"}
    plan = tiny_plan(prior, {"prompt": "a blue xyzzy"}, car | {"method": f"{own}:nan"}, car | {"method": "sds"})
    folder, ends = tmp_path / "sweep", list[End]()
    tally = sweep(plan, folder, retries=1, ends=ends)
    assert (tally.total, tally.done, len(tally.failed), tally.running) == (3, 1, 2, [])
    assert [end.code for end in ends] == [2, 1, 0, 2, 1], "further attempts come last"
    unknown, nan = tally.failed.values()
    assert "unknown Toybox word 'xyzzy'" in unknown.line and "not finite" in nan.line
    assert (unknown.attempts, nan.attempts) == (2, 2)
    ends.clear()
    assert len(sweep(plan, folder, retries=1, ends=ends).failed) == 2 and not ends, "no attempt is left"


def test_a_folder_that_holds_another_run_is_an_error_before_anything_runs(prior: str, tmp_path: Path) -> None:
    plan = tiny_plan(prior, prompt="a red car", method="sds", seed="0..1")
    last = trials(plan, tmp_path)[-1]
    Trial(last.path, changed(last.recipe, "training.steps", 3)).prepare()
    with pytest.raises(ValueError, match=f"{last.path} holds another run .*training.steps was 3 and is 2"):
        sweep(plan, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [last.name]


def test_one_sweep_at_a_time(prior: str, tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(ValueError, match="is in use by process"):
        sweep(tiny_plan(prior, prompt="a red car"), tmp_path)


@pytest.mark.parametrize("junk", ["", "[1]", '{"attempts": "x", "line": 3}', "\0"])
def test_junk_in_the_record_of_a_failure_is_no_failure(prior: str, tmp_path: Path, junk: str) -> None:
    trial = trials(tiny_plan(prior, prompt="a red car"), tmp_path)[0]
    trial.prepare()
    (trial.path / FAILURE).write_text(junk)
    assert trial.state() == "interrupted" and trial.record_failure("why").attempts == 1
    assert trial.state() == "failed"


# The engine of this machine, with a worker that imports nothing

WORKER = """
import os, signal, sys, time
from pathlib import Path
path = Path(sys.argv[2])
(path / "seen").write_text(f"{os.environ.get('OMP_NUM_THREADS')} {sys.argv[3:]}")
seed = path.name[-1]
if seed == "0":
    print("scoredistill: note: this", "scoredistill: error: that", "", sep="\\n", file=sys.stderr)
    sys.exit(2)
if seed == "1":
    os.kill(os.getpid(), signal.SIGKILL)
os.read(0, 1)
sys.exit(143)
"""


@pytest.fixture
def light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(process_module, "WORKER", (sys.executable, "-S", str(tmp_path / "worker.py")))


@pytest.mark.usefixtures("light")
def test_processes_share_cores_and_devices_and_say_how_they_end(prior: str, tmp_path: Path) -> None:
    planned = trials(tiny_plan(prior, prompt="a red car", seed="0..4"), tmp_path / "sweep")
    started: list[str] = []
    ends: dict[str, End] = {}
    engine = LocalEngine(3, ("cuda:0", "cuda:1"))
    for end in engine.run(planned, lambda trial: started.append(trial.name[-1]), lambda: len(started) == 5):
        ends[end.trial.name[-1]] = end
    assert started == ["0", "1", "2", "3", "4"]
    assert {seed: end.code for seed, end in ends.items()} == {"0": 2, "1": -9, "2": 143, "3": 143, "4": 143}
    assert (ends["0"].line, ends["1"].line[:35]) == ("that", "its process was killed by signal 9:")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    seen = [(trial.path / "seen").read_text() for trial in planned]
    assert {each.split()[0] for each in seen} == {str(max(cores // 3, 1))}
    assert {"cuda:0" in each for each in seen} == {"cuda:1" in each for each in seen} == {True, False}


@pytest.mark.usefixtures("light")
def test_an_engine_that_is_closed_leaves_no_process_behind(prior: str, tmp_path: Path) -> None:
    planned = trials(tiny_plan(prior, prompt="a red car", seed=[0, 2, 3]), tmp_path / "sweep")
    processes = LocalEngine(3).run(planned, lambda trial: None, lambda: False)
    assert next(processes).code == 2
    processes.close()  # type: ignore[attr-defined]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# The command


def flags(prior: str, folder: Path, *others: str) -> list[str]:
    small = ["scene=image", f"prior={prior}", "scene.count=1", "resolution=16", "training.save-every=1"]
    return ["sweep", "--out", str(folder), *others, "--set", "prompt=a red car", *small]


def test_a_dry_run_writes_nothing(prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = flags(prior, tmp_path / "sweep", "--methods", "sds", "dsd", "--seeds", "0..2", "--dry-run")
    assert main([*words, "steps=100"]) == 0
    out = capsys.readouterr().out
    assert "6 runs in" in out and "6 to run:" in out and "hours with --processes 1" in out and "GB" in out
    assert "assumed: 0.01 s" in out
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep"], "name the folder of the sweep: --out DIR"),
        (["sweep", "--out", "x"], "no prompt: name a prompt set"),
        (["sweep", "nowhere.yaml"], "there is no file nowhere.yaml"),
        (["sweep", "--out", "x", "--prompts", "toybox2"], "nearest known: toybox"),
        (["sweep", "--out", "x", "--prompts", "toybox20", "--set", "scene.samples"], "'scene.samples' is no setting"),
        (["sweep", "--out", "x", "--prompts", "toybox20", "--set", "seed=1", "--seeds", "2"], "seed is given twice"),
        (["sweep", "--out", "x", "--set", "prompt=a red car", "training.steps.x=5"], "steps is a single value and has"),
        (["sweep", "--out", "x", "--prompts", "toybox20", "--devices", "gpu"], "unknown device 'gpu'"),
        (["sweep", "--out", "x", "--devices", "cuda:0", "cuda:1"], "2 devices need --processes 2 or more"),
        (["sweep", "--out", "x", "--prompts", "toybox20", "--devices", "cuda:99"], "no CUDA device 99 here"),
    ],
)
def test_bad_flags_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_run_is_not_swept(prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = trials(tiny_plan(prior, prompt="a red car"), tmp_path)[0].recipe
    run = RunFolder.create(recipe, tmp_path / "run").path
    before = sorted(run.iterdir())
    assert main(flags(prior, run)) == 2
    assert "run is the folder of a run: choose another for the sweep" in capsys.readouterr().err
    assert sorted(run.iterdir()) == before


def test_a_killed_command_leaves_no_process_and_goes_on(prior: str, tmp_path: Path) -> None:
    """The trial of a sweep that is killed stops after its step; the command from the plan finishes it."""
    folder = tmp_path / "sweep"
    process = forked(lambda: main([*flags(prior, folder), "steps=60", "method=sds"]))
    while process.is_alive() and steps_logged(folder) < 2:
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(60)
    assert main(["sweep", str(folder / PLAN), "--out", str(folder)]) == 0
    run = RunFolder.open(next(folder.glob("*/config.yaml")).parent)
    assert [record["step"] for record in run.log()] == list(range(60))
