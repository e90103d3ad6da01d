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


def complete(folders: dict[Path, list[str]], processes: int) -> int:
    """`scoredistill WORDS --out FOLDER` for every folder, some at a time, which share the cores; threads of each."""
    threads = max(len(os.sched_getaffinity(0)) // processes, 1)
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(_complete, folders, folders.values(), repeat(threads)))
    return threads


def metrics(folder: Path) -> dict[str, Any]:
    """The metrics of a finished run, and the seconds that its command took."""
    return json.loads((folder / "metrics.json").read_text()) | json.loads((folder / "wall.json").read_text())


def _complete(folder: Path, words: list[str], threads: int) -> None:
    if (folder / "metrics.json").exists():
        return
    task = ["resume", str(folder)] if (folder / "config.yaml").exists() else [*words, "--out", str(folder)]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "scoredistill", *task],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    (folder / "wall.json").write_text(json.dumps({"wall_seconds": time.monotonic() - began}))
    print(f"{folder.name}: exit {done.returncode} {done.stderr.strip()[-200:]}", flush=True)
