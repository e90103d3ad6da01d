"""Two commits: do they compute the same numbers, and how do their speeds compare?

    python benchmarks/compare.py HEAD~5 HEAD --methods sdi sds --scenes nerf splats image

Each commit is checked out into a folder of its own; short runs of the two alternate, so that what else the machine
does falls on both. Numbers are the norm of the gradient, the mean of the render and the regularizers, step by step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.evaluate.report import markdown

ROOT = Path(__file__).parents[1]


def checkout(commit: str, folder: Path) -> Path:
    """The tree of a commit, in a folder."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], capture_output=True, check=True, cwd=ROOT).stdout
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive, check=True)
    return folder


def trial(tree: Path, method: str, scene: str, steps: int) -> dict[str, Any]:
    """The checkout's own `trial.py`, whose flags and output all commits share."""
    words = ["--method", method, "--scene", scene, "--steps", str(steps)]
    done = subprocess.run(
        [sys.executable, str(tree / "benchmarks" / "trial.py"), *words],
        env=os.environ | {"PYTHONPATH": str(tree)},
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def furthest(one: list[list[float]], other: list[list[float]]) -> float:
    """The largest relative difference of any number at any step."""
    pairs = [(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)]
    return max(abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", help="another")
    parser.add_argument("--methods", nargs="+", default=["sdi", "dsd", "sds"])
    parser.add_argument("--scenes", nargs="+", default=["nerf"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3, help="trials of each commit")
    flags = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        trees = [checkout(getattr(flags, side), Path(folder) / side) for side in ("before", "after")]
        for scene, method in itertools.product(flags.scenes, flags.methods):
            found = [[trial(tree, method, scene, flags.steps) for tree in trees] for _ in range(flags.rounds)]
            before, after = (statistics.median(pair[side]["seconds"] for pair in found) for side in (0, 1))
            apart = furthest(found[0][0]["numbers"], found[0][1]["numbers"])
            rows.append(
                {
                    "scene": scene,
                    "method": method,
                    "numbers": "identical" if apart == 0 else f"up to {apart:.1e} apart",
                    f"ms a step, {flags.before}": round(1e3 * before, 1),
                    f"ms a step, {flags.after}": round(1e3 * after, 1),
                    "speed": f"{before / after:.2f}x",
                }
            )
            print(rows[-1], flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()
