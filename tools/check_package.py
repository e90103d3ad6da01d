"""Build the wheel and the source archive and check them: metadata, contents, size, and a run in a clean environment.

python -m tools.check_package                       # by this Python
python -m tools.check_package python3.11 python3.14 # installed and run by each of these

The environment is made from the wheel, constraints.txt and the package index alone; pip decides where that is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
LARGEST = 90  # MB, of either archive: a package index takes 100
RUN = ("image", "a red car", "--steps", "2", "--scene.count", "1", "--out", "run")
RESULTS = ("index.html", "config.yaml", "preview.png", "metrics.json")


def build() -> tuple[Path, Path]:
    """The wheel and the source archive, made anew in dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    _call(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT, quiet=True)
    (wheel,), (source,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, source


def check_contents(wheel: Path, source: Path) -> None:
    """ValueError where a file of the repository is missing, one of the wheel is too many, or an archive too large."""
    tracked = {path for path in _tracked() if path.startswith("scoredistill/")}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    if packed != tracked:
        raise ValueError(f"{wheel.name}: missing {sorted(tracked - packed)}, too many {sorted(packed - tracked)}")
    with tarfile.open(source) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    needed = {path for path in _tracked() if path.partition("/")[0] not in (".github", ".gitignore")}
    if needed - found:
        raise ValueError(f"{source.name}: missing {sorted(needed - found)}")
    for path in (wheel, source):
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {size:.1f} MB")
        if size > LARGEST:
            raise ValueError(f"{path.name} has {size:.0f} MB, more than {LARGEST}")


def check_run(wheel: Path, python: str) -> None:
    """Install the wheel in an environment of its own and distill an image; ValueError where something is missing."""
    with tempfile.TemporaryDirectory(prefix="package-") as temporary:
        folder = Path(temporary)
        _call(python, "-m", "venv", folder / "environment")
        programs = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
        _call(programs / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
        _call(programs / "scoredistill", "--version", within=folder)
        _call(programs / "scoredistill", *RUN, within=folder)
        missing = [name for name in RESULTS if not (folder / "run" / name).exists()]
    if missing:
        raise ValueError(f"{wheel.name}, run by {python}: {', '.join(missing)} is missing")


def _tracked() -> list[str]:
    """The files of the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return listed.splitlines()


def _call(*words: str | Path, within: Path = ROOT, quiet: bool = False) -> None:
    """A command, without this repository on Python's path."""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    output = subprocess.DEVNULL if quiet else None
    subprocess.run([str(word) for word in words], cwd=within, env=alone, check=True, stdout=output)


def main(pythons: Sequence[str]) -> None:
    wheel, source = build()
    _call(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    check_contents(wheel, source)
    for python in pythons or [sys.executable]:
        check_run(wheel, python)
        print(f"{wheel.name}: installed and run by {python}")


if __name__ == "__main__":
    main(sys.argv[1:])
