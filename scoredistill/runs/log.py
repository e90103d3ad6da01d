"""The log of a run: one JSON record in a line for each step, with a checksum of its own."""

from __future__ import annotations

import json
import logging
import math
import zlib
from pathlib import Path
from typing import Any

from scoredistill import files
from scoredistill.files import read_limited, write_safely

Record = dict[str, Any]

CHECK = "crc32"
LARGEST = 1 << 31  # bytes of a log that is read: ten million steps

log = logging.getLogger(__name__)


def append(path: Path, record: Record) -> None:
    """Add a record to the log."""
    files.append(path, _line(record))


def read(path: Path) -> list[Record]:
    """The records by step, one for each; logs a warning if lines are damaged, which are left out.

    A last line without an end is one that a killed process has not finished, and no damage.
    """
    records, damaged = _parsed(path)
    if damaged:
        log.warning("%s: %s damaged and left out", path, _lines(damaged))
    return records


def rewind(path: Path, index: int) -> list[Record]:
    """Drop the records after step `index`; returns the others. Damaged lines are set aside, in NAME-damaged.txt."""
    records, damaged = _parsed(path)
    if damaged:
        aside = path.with_name(f"{path.stem}-damaged.txt")
        before = read_limited(aside, LARGEST) if aside.exists() else b""
        write_safely(aside, before + b"".join(line + b"\n" for line in damaged.values()))
        log.warning("%s: %s damaged and set aside in %s", path, _lines(damaged), aside.name)
    records = [record for record in records if record["step"] <= index]
    write_safely(path, b"".join(map(_line, records)))
    return records


def _parsed(path: Path) -> tuple[list[Record], dict[int, bytes]]:
    """The whole records by step, and the damaged lines by number."""
    records: dict[int, Record] = {}
    damaged: dict[int, bytes] = {}
    content = read_limited(path, LARGEST) if path.exists() else b""
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        record = _record(line)
        if record is None:
            damaged[number] = line
        else:
            records[record["step"]] = record
    return [records[step] for step in sorted(records)], damaged


def _line(record: Record) -> bytes:
    """A record as a line; a number that is not finite as null."""
    plain = {name: _finite(value) for name, value in record.items()}
    return json.dumps(plain | {CHECK: _checksum(plain)}, allow_nan=False).encode() + b"\n"


def _record(line: bytes) -> Record | None:
    """The record of a line, or None if it is damaged."""
    try:
        record = json.loads(line)
        check = record.pop(CHECK)
        return record if check == _checksum(record) and isinstance(record["step"], int) else None
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return None


def _checksum(record: Record) -> str:
    return f"{zlib.crc32(json.dumps(record, allow_nan=False).encode()):08x}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(damaged: dict[int, bytes]) -> str:
    numbers = ", ".join(map(str, damaged))
    return f"line {numbers} is" if len(damaged) == 1 else f"lines {numbers} are"
