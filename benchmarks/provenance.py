"""The origin of a measurement: command, commit, hardware, versions. Part of every result file."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import torch


def provenance() -> dict[str, str | int]:
    """The facts needed to repeat a measurement."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else ""),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "OpenMP's spins": os.environ.get("GOMP_SPINCOUNT", "default"),
    }


def _git(*words: str) -> str:
    result = subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return result.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
