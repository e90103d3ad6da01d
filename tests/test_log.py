"""The log of a run: a record for each step, whatever happens to single lines."""

from __future__ import annotations

import json
import logging
import math
import random
from pathlib import Path

import pytest

from scoredistill.runs import log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    for step in range(5):
        log.append(path, {"step": step, "t": 0.5})
    return path


def steps(records: list[log.Record]) -> list[int]:
    return [record["step"] for record in records]


def test_records_come_back_and_rewind(path: Path) -> None:
    assert log.read(path.with_name("none.jsonl")) == []
    assert log.rewind(path, 2) == log.read(path) == [{"step": step, "t": 0.5} for step in range(3)]
    assert log.rewind(path, -1) == log.read(path) == []


def test_a_line_that_was_not_finished_is_no_damage(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with path.open("a") as file:
        file.write('{"step": 5, "t"')
    assert steps(log.read(path)) == [0, 1, 2, 3, 4]
    assert not caplog.records


def test_a_damaged_line_is_set_aside_and_the_later_ones_stay(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"0.5", b"0.7")
    path.write_bytes(b"".join(lines))
    with caplog.at_level(logging.WARNING):
        assert steps(log.read(path)) == [0, 2, 3, 4]
        assert steps(log.rewind(path, 4)) == [0, 2, 3, 4]
    assert "line 2 is damaged and set aside in log-damaged.txt" in caplog.text
    assert path.with_name("log-damaged.txt").read_bytes() == lines[1]
    caplog.clear()
    assert steps(log.read(path)) == [0, 2, 3, 4]
    assert not caplog.records


@pytest.mark.parametrize("line", ["[]", "[" * 100_000, "3", "null", '{"step": 1}', "\xff", '{"step": NaN, "crc32": 0}'])
def test_what_is_no_record_is_damage(path: Path, line: str) -> None:
    with path.open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    assert steps(log.read(path)) == [0, 1, 2, 3, 4]


def test_a_flipped_bit_costs_one_line_at_most_and_never_changes_one(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content, whole = path.read_bytes(), log.read(path)
    for bit in random.Random(0).sample(range(8 * len(content)), 400):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        caplog.clear()
        found = log.read(path)
        assert all(record in whole for record in found)
        assert len(found) >= 3  # a line's end takes two lines along
        assert found == whole or caplog.records or bit // 8 == len(content) - 1


def test_a_step_that_was_logged_twice_counts_once(path: Path) -> None:
    path.write_bytes(2 * path.read_bytes())
    assert steps(log.read(path)) == [0, 1, 2, 3, 4]


def test_numbers_that_are_not_finite_are_null(path: Path) -> None:
    log.append(path, {"step": 5, "grad_norm": math.inf, "t": math.nan})
    assert log.read(path)[-1] == {"step": 5, "grad_norm": None, "t": None}
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
