"""One process at a time works on a run folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scoredistill.runs.lock import NAME, hold

HOLDER = """
import sys, time
from pathlib import Path
from scoredistill.runs.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the folder until it is stopped."""
    place = {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | place)
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
