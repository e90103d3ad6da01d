"""Benchmarks of many runs: what counts as finished, which time is recorded, and which earlier rows remain."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import photos
from benchmarks.runs import complete, metrics
from benchmarks.text_to_3d import earlier
from scoredistill.cli.main import parsed
from scoredistill.export.images import write_png
from scoredistill.recipes.fast import fast
from scoredistill.runs.folder import RunFolder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subcommands that are run, each of which fails at once."""
    found: list[str] = []

    def run(command: list[str], **settings: Any) -> SimpleNamespace:
        found.append(command[3])
        return SimpleNamespace(returncode=1, stderr="no such prior")

    monkeypatch.setattr(subprocess, "run", run)
    return found


def test_a_run_that_broke_off_is_resumed_and_all_of_its_time_counts(tmp_path: Path, asked: list[str]) -> None:
    folder = RunFolder.create(fast("a red car"), tmp_path / "run")
    (folder / "wall.json").write_text(json.dumps({"wall_seconds": 100.0}))
    for steps in (1, folder.recipe.training.steps):
        (folder / "metrics.json").write_text(json.dumps({"steps": steps}))
        complete({folder.path: ["generate"]}, 1)
    assert asked == ["resume"]
    assert metrics(folder.path)["wall_seconds"] == pytest.approx(100, abs=10)


def test_a_command_that_begins_nothing_is_told_by_its_own_words(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    complete({tmp_path / "run": ["generate"]}, 1)
    assert "exit 1 no such prior" in capsys.readouterr().out
    assert asked == ["generate"]


def test_the_commands_of_photos_exist(tmp_path: Path) -> None:
    picture = tmp_path / "a red car.png"
    write_png(torch.ones(4, 8, 8), picture)
    command, _ = parsed(photos.generate(picture, "sdi", 3))
    assert command.prompt_.picture.azimuth_deg == photos.AZIMUTH_DEG


def test_rows_of_other_methods_and_seeds_are_kept(tmp_path: Path) -> None:
    rows = {method: [{"seed": seed} for seed in (0, 1)] for method in ("sdi", "sds")}
    (tmp_path / "out.json").write_text(json.dumps({"rows": rows}))
    found = earlier(tmp_path / "out.json", ["sds"], [1])
    assert found == {"sdi": rows["sdi"], "sds": rows["sds"][:1]}
