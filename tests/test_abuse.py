"""A small seeded part of the fuzzer, the kills and the bit flips; `tools/` holds them in full."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from scoredistill.config import Range
from tools.abuse import values
from tools.abuse.compare import same
from tools.abuse.whole import broken

ROOT = Path(__file__).parents[1]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tools fork and watch their children")


@LINUX
@pytest.mark.parametrize(
    "command",
    [
        "fuzz.py --cases 5 --files 4 --seed 0",
        "kill.py --kills 2 --hazards 2 --seed 0 --kinds image",
        "flips.py --flips 4 --seed 0 --scenes image",
    ],
)
def test_nothing_fails(command: str) -> None:
    name, *flags = command.split()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, str(ROOT / "tools" / name), *flags]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_numbers_out_of_range_are_expected_to_be_refused() -> None:
    rng = random.Random(0)
    drawn = [values.numbers(False, Range(0, 1), rng) for _ in range(2000)]
    expected = {value.words[0]: value.expected for value in drawn}
    refused = ("nan", "inf", "-1", "1.001", "-0.001", "1e300", "", "x")
    assert {text: expected[text] for text in refused} == dict.fromkeys(refused, "refuse")
    assert {expected[text] for text in ("0", "1", "0.5", "1_000", "１２")} == {"any"}


def test_half_written_files_are_noticed(tmp_path: Path) -> None:
    for name in ("mesh.glb", "preview.png", "turntable.mp4", "metrics.json", "index.html", "config.yaml"):
        (tmp_path / name).touch()
    assert len(broken(tmp_path)) == 6


def test_same_is_bit_for_bit() -> None:
    import torch

    tree = {"a": [torch.tensor([1.0, 2.0]), 3], "b": "c"}
    assert same(tree, {"a": [torch.tensor([1.0, 2.0]), 3], "b": "c"})
    assert not same(tree, {"a": [torch.tensor([1.0, 2.0]), 3.0], "b": "c"})
    assert not same(tree, {"a": [torch.tensor([1.0, 2.0000002]), 3], "b": "c"})
