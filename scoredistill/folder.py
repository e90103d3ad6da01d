"""The folder of a run: what it was told, what it logged, its checkpoints; everything else is made from these.

config.yaml   log.jsonl   checkpoint/   trace/     written as the run goes
preview.png   turntable.mp4   mesh.glb   metrics.json   index.html     when it stops
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from torch import Tensor

from scoredistill import checkpoint
from scoredistill.export.images import write_png
from scoredistill.run import Run
from scoredistill.settings import fits

RUNS = Path("runs")
SLUG = 40  # letters of the prompt in a folder's name

Record = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """A folder on the disk with the resolved run that it belongs to."""

    path: Path
    run: Run

    @classmethod
    def create(cls, run: Run) -> RunFolder:
        """A new folder for a resolved run; ValueError if it cannot be written or holds anything already."""
        path = Path(run.out or default_path(run.prompt, run.method, run.seed))
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise ValueError(_occupied(path, run))
            write_config(run, path / "config.yaml")
        except OSError as error:
            raise type(error)(error.errno, f"cannot write the run folder {path} ({error.strerror})") from None
        return cls(path, run)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of an earlier run; ValueError if it is not one."""
        config = path / "config.yaml"
        if not config.is_file():
            raise ValueError(f"{path} is not a run folder: it has no config.yaml")
        return cls(path, read_config(config))

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def log(self) -> list[Record]:
        """The records so far, up to the first broken line (a run may be killed while it writes)."""
        records: list[Record] = []
        path = self / "log.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return records

    def append(self, record: Record) -> None:
        """Add a record to the log."""
        with (self / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, index: int) -> list[Record]:
        """Forget what was logged after step `index`; returns what is left."""
        records = [record for record in self.log() if record["step"] <= index]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        checkpoint.write_safely(self / "log.jsonl", lines.encode())
        return records

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; see `checkpoint.write`."""
        checkpoint.write(self / "checkpoint", state)

    def load(self) -> dict[str, Any] | None:
        """Read the newest whole checkpoint; see `checkpoint.read`."""
        return checkpoint.read(self / "checkpoint")

    def trace(self, index: int, pictures: Mapping[str, Tensor]) -> None:
        """Keep small pictures [3 h w] of what the prior saw at step `index`."""
        (self / "trace").mkdir(exist_ok=True)
        for name, rgb in pictures.items():
            write_png(rgb, self / "trace" / f"{index:06d}-{name}.png")

    def traces(self) -> dict[int, dict[str, Path]]:
        """The pictures kept by `trace`, by step and name."""
        found: dict[int, dict[str, Path]] = {}
        for path in sorted((self / "trace").glob("*.png")):
            index, name = path.stem.split("-", 1)
            found.setdefault(int(index), {})[name] = path
        return found


def default_path(prompt: str, method: str, seed: int) -> Path:
    """runs/a-purple-snowman-sdi-0"""
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower())[:SLUG].strip("-")
    return RUNS / f"{slug}-{method}-{seed}"


def write_config(run: Run, path: Path) -> None:
    """Write a run as YAML, without its gaps and without the place of its folder."""
    settings = {key: value for key, value in asdict(run).items() if value is not None and key != "out"}
    text = f"# again: scoredistill generate --config {path} --out ANOTHER\n"
    checkpoint.write_safely(path, (text + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)).encode())


def read_config(path: Path) -> Run:
    """The run that `write_config` wrote; ValueError names what is not a setting."""
    try:
        settings = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ValueError(f"{path} is not YAML") from None
    hints = get_type_hints(Run)
    if not isinstance(settings, dict) or "prompt" not in settings:
        raise ValueError(f"{path} is not the configuration of a run: it names no prompt")
    for name, value in settings.items():
        if name == "out" or name not in hints:
            raise ValueError(f"{path} has a setting that no run has: {name}")
        allowed = (dict,) if name == "settings" else get_args(hints[name]) or (hints[name],)
        if not fits(value, allowed):
            expected = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
            raise ValueError(f"{path}: {name} must be {expected}, got {value!r}")
    return Run(**settings)


def _occupied(path: Path, run: Run) -> str:
    config = path / "config.yaml"
    if not config.is_file():
        return f"{path} is not empty; choose another folder with --out"
    if asdict(read_config(config)) | {"out": None} == asdict(run) | {"out": None}:
        return f"{path} holds this very run; go on with: scoredistill resume {path}, or choose another --out"
    return f"{path} holds another run; choose another --out, or go on with: scoredistill resume {path}"
