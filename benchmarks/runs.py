"""Many runs of the command line, each to its finished folder; what was finished is not repeated, the rest resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.files import read_object
from scoredistill.runs.folder import CONFIG, METRICS, RunFolder, metrics_in

WALL = "wall.json"


def complete(folders: dict[Path, list[str]], processes: int) -> int:
    """`scoredistill WORDS --out FOLDER` for every folder, some at a time, which share the cores; threads of each."""
    threads = max(len(os.sched_getaffinity(0)) // processes, 1)
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(_complete, folders, folders.values(), repeat(threads)))
    return threads


def metrics(folder: Path) -> dict[str, Any]:
    """The metrics of a finished run, and the seconds that its commands took, but for one that was killed."""
    return json.loads((folder / METRICS).read_text()) | json.loads((folder / WALL).read_text())


def _complete(folder: Path, words: list[str], threads: int) -> None:
    begun = (folder / CONFIG).exists()
    if begun and metrics_in(folder).get("steps") == RunFolder.open(folder).recipe.training.steps:
        return
    task = ["resume", str(folder)] if begun else [*words, "--out", str(folder)]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "scoredistill", *task],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if folder.is_dir():  # else nothing was begun, and the line says why
        spent = read_object(folder / WALL, 1 << 20).get("wall_seconds", 0.0) + time.monotonic() - began
        (folder / WALL).write_text(json.dumps({"wall_seconds": spent}))
    print(f"{folder.name}: exit {done.returncode} {done.stderr.strip()[-200:]}", flush=True)
