"""One process at a time works on a run folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scoredistill.runs import lock
from scoredistill.runs.lock import NAME, SILENCE, hold

HOLDER = """
import sys, time
from pathlib import Path
from scoredistill.runs import lock
lock.BEAT = float(sys.argv[2])
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path, beat: float = lock.BEAT) -> subprocess.Popen[str]:
    """A process that holds the folder until it is stopped."""
    place = {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", HOLDER, str(folder), str(beat)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, env=os.environ | place, **pipes)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_process_learns_who_holds_the_folder_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(ValueError, match=f"in use by process {process.pid} on .* since .*: wait"), hold(tmp_path):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / NAME).exists()
    with hold(tmp_path):
        assert (tmp_path / NAME).exists()
    assert not list(tmp_path.iterdir())


def test_nothing_of_a_hold_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life after the release would go to the file of the next holder, or end this process over it."""
    read = lock._about

    def slow(path: Path) -> dict[str, Any]:
        time.sleep(0.1)
        return read(path)

    monkeypatch.setattr(lock, "_about", slow)
    monkeypatch.setattr(lock, "BEAT", 0.001)
    before = set(threading.enumerate())
    with hold(tmp_path):
        assert set(threading.enumerate()) > before
        time.sleep(0.05)
    assert set(threading.enumerate()) == before


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / NAME).symlink_to(victim)
    with pytest.raises(OSError, match=r"\.lock"), hold(tmp_path):
        pass
    assert victim.read_text() == "precious"


def test_a_folder_can_be_moved_while_it_is_held(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with hold(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "moved")


def leave_lock_of_another_machine(folder: Path, age: float) -> Path:
    """What a process on another machine has written, which does not lock it for this one."""
    path = folder / NAME
    about = {"process": 7, "host": "node-7", "since": "2026-01-01 00:00:00", "machine": "another"}
    path.write_text(json.dumps(about))
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    return path


def test_a_holder_on_another_machine_counts_while_it_gives_signs_of_life(tmp_path: Path) -> None:
    path = leave_lock_of_another_machine(tmp_path, age=SILENCE / 2)
    with (
        pytest.raises(ValueError, match=r"in use by process 7 on node-7 .* dead holds it for 60 s more"),
        hold(tmp_path),
    ):
        pass
    assert json.loads(path.read_text())["machine"] == "another"
    leave_lock_of_another_machine(tmp_path, age=SILENCE + 1)
    with hold(tmp_path):
        assert json.loads(path.read_text())["process"] == os.getpid()


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with hold(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        while (tmp_path / NAME).stat().st_mtime == 0:
            time.sleep(0.01)


def test_a_process_that_lost_its_folder_to_another_machine_ends(tmp_path: Path) -> None:
    process = holder(tmp_path, beat=0.01)
    leave_lock_of_another_machine(tmp_path, age=0)
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert "was taken over by process 7 on node-7" in process.stderr.read()
