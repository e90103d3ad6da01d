"""What this machine can do, and why: one line for each thing that a run may need."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path

import torch

from scoredistill import __version__
from scoredistill.evaluate.judge import EMBEDDED
from scoredistill.evaluate.part_meter import EMBEDDED as PARTS
from scoredistill.kernels import backend
from scoredistill.priors.network import fast_dtype
from scoredistill.priors.toybox import WEIGHTS

Finding = tuple[str, bool, str]
"""(what, whether it is well, what was found and what to do)"""

OPTIONAL = {
    "mcubes": "PyMCubes: meshes",
    "imageio_ffmpeg": "imageio-ffmpeg: videos",
    "trimesh": "trimesh: PLY files",
}
EXTRA = ("diffusers", "transformers")  # libraries of published models only
SPACE = 1 << 30  # bytes: some hundred run folders of the fast preset


def examine() -> list[Finding]:
    """All findings, in the order in which a run would meet them."""
    return [
        ("python", True, f"{platform.python_version()} on {platform.machine()} {platform.system()}"),
        ("scoredistill", True, __version__),
        ("torch", True, f"{torch.__version__}, {torch.get_num_threads()} of {os.cpu_count()} cores"),
        _precision(),
        _gpu(),
        _kernels(),
        _weights("Toybox prior", WEIGHTS, "train it with: python tools/train_toybox.py"),
        _weights("Toybox judge", EMBEDDED, "most metrics are unavailable; train it with: python tools/train_judge.py"),
        _weights("Toybox part meter", PARTS, "runs cannot be evaluated; train it with: python tools/train_parts.py"),
        *(_library(name, use) for name, use in OPTIONAL.items()),
        *(
            (name, True, _version(name) or "not installed; pip install 'scoredistill[sd]' for published models")
            for name in EXTRA
        ),
        _disk(),
    ]


def _precision() -> Finding:
    if fast_dtype(torch.device("cpu")) == torch.bfloat16:
        return "CPU precision", True, "bfloat16: the processor has instructions for it"
    return (
        "CPU precision",
        True,
        "float32: the processor has no bfloat16 instructions, so a run takes about twice as long",
    )


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        return "GPU", True, "none that torch can use; runs use the CPU"
    free, total = torch.cuda.mem_get_info()
    return "GPU", True, f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"


def _kernels() -> Finding:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if backend.choice() == "torch":
        return "kernels", True, f"torch references, as {backend.VARIABLE} says"
    reason = backend.unavailable(device)
    if reason:
        return "kernels", False, f"torch references: {reason}; pip install warp-lang"
    return "kernels", True, f"warp's ({_version('warp-lang')}), compiled for this {device.type} at first use"


def _weights(name: str, path: Path, remedy: str) -> Finding:
    if path.is_file():
        return name, True, f"{path} ({path.stat().st_size / 1e6:.1f} MB)"
    return name, False, f"missing at {path}; {remedy}"


def _library(module: str, use: str) -> Finding:
    there = importlib.util.find_spec(module) is not None
    return use, there, "installed" if there else "missing; pip install scoredistill brings it"


def _version(distribution: str) -> str:
    """The installed version of a library, or an empty text."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return "disk", free > SPACE, f"{free / 2**30:.1f} GiB free in {Path.cwd()}"
