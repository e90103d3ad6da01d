"""A run that is killed, stopped or damaged continues to the same bits as one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_folder import same
from tiny import FLAGS, PROMPT

from scoredistill.cli import main
from scoredistill.runs.folder import RunFolder

STEPS = 24
KILLS = 3
ROOT = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures("toy_presets")


def generate(prior: str, out: Path) -> list[str]:
    return ["generate", PROMPT, "--prior", prior, "--out", str(out), *FLAGS[2:], "--steps", str(STEPS)]


@pytest.fixture(scope="module")
def uninterrupted(prior: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The last checkpoint of an undisturbed run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(generate(prior, folder)) == 0
    state = RunFolder.open(folder).load()
    assert state is not None
    assert state["index"] == STEPS - 1
    return state


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """A command line of toy size in a process of its own, with as many threads as this one."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "tiny.py"), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | threads, **pipes)


def logged(folder: Path) -> int:
    path = folder / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def run_until(arguments: list[str], folder: Path, lines: int, number: int, delay: float = 0.0) -> tuple[int, str]:
    """Send a signal to a run when its log has so many lines; returns its exit code and its stderr."""
    process = start(arguments)
    while process.poll() is None and logged(folder) < lines:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(number)
    return process.wait(120), process.communicate()[1]


def complete(folder: Path) -> dict:
    """Resume to the end; the log must hold every step once."""
    assert main(["resume", str(folder)]) == 0
    assert [record["step"] for record in RunFolder.open(folder).log()] == list(range(STEPS))
    state = RunFolder.open(folder).load()
    assert state is not None
    return state


def test_killed_at_random_moments(prior: str, uninterrupted: dict, tmp_path: Path) -> None:
    rng, folder = random.Random(0), tmp_path / "run"
    command = generate(prior, folder)
    for kill in range(KILLS):
        lines = rng.randint(kill * STEPS // KILLS + 1, (kill + 1) * STEPS // KILLS - 3)
        code, _ = run_until(command, folder, lines, signal.SIGKILL, rng.uniform(0, 0.03))
        assert code == -signal.SIGKILL
        assert logged(folder) < STEPS
        command = ["resume", str(folder)]
    assert same(uninterrupted, complete(folder))


@pytest.mark.parametrize(("number", "code", "whole"), [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)])
def test_stopped_politely(prior: str, uninterrupted: dict, tmp_path: Path, number: int, code: int, whole: bool) -> None:
    folder = tmp_path / "run"
    found, message = run_until(generate(prior, folder), folder, 5, number)
    assert found == code
    assert message.count("\n") == 1
    assert f"go on with: scoredistill resume {folder}" in message
    done = logged(folder)
    assert 5 <= done < STEPS
    state = RunFolder.open(folder).load()
    assert state is not None
    assert state["index"] == done - 1  # not a step is lost
    assert (folder / "mesh.glb").exists() is whole
    assert same(uninterrupted, complete(folder))


def test_a_damaged_checkpoint_costs_one_line(prior: str, uninterrupted: dict, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code, message = run_until(generate(prior, folder), folder, 9, signal.SIGTERM)
    assert code == 143, message
    newest = max((folder / "checkpoint").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:1000])
    process = start(["resume", str(folder)])
    _, message = process.communicate(timeout=120)
    assert process.returncode == 0
    assert message.count("\n") == 1
    assert message.startswith(f"scoredistill: warning: checkpoint {newest.stem} (cannot be read) in ")
    assert same(uninterrupted, RunFolder.open(folder).load())


def test_a_finished_run_is_extended_as_if_it_had_been_longer_from_its_checkpoint(prior: str, tmp_path: Path) -> None:
    """`resume --steps` continues from the newest checkpoint with the new number of steps, in the recipe and the log."""
    folder = tmp_path / "run"
    assert main([*generate(prior, folder)[:-2], "--steps", "4"]) == 0
    assert main(["resume", str(folder), "--steps", "6"]) == 0
    again = RunFolder.open(folder)
    assert again.recipe.training.steps == 6
    assert [record["step"] for record in again.log()] == list(range(6))
    state = again.load()
    assert state is not None and state["index"] == 5


def test_resume_changes_nothing_that_is_optimized(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main([*generate(prior, folder)[:-2], "--steps", "2"]) == 0
    config = (folder / "config.yaml").read_bytes()
    for flags in (["--training.seed", "3"], ["--method.scale", "9"], ["--scene.samples", "12"]):
        assert main(["resume", str(folder), *flags]) == 2
        assert "resume cannot change" in capsys.readouterr().err
    assert (folder / "config.yaml").read_bytes() == config


def test_another_seed_is_another_scene(prior: str, uninterrupted: dict, tmp_path: Path) -> None:
    assert main([*generate(prior, tmp_path / "run"), "--seed", "1"]) == 0
    state = RunFolder.open(tmp_path / "run").load()
    assert state is not None
    assert not same(uninterrupted["scene"], state["scene"])
