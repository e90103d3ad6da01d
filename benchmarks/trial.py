"""A short run of the package beside this file: its numbers and the time of a step, as JSON.

    python benchmarks/trial.py --method sdi --scene nerf --steps 12

`compare.py` runs it in the checkouts of two commits; the flags and the output must stay as they are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.recipes.build import build
from scoredistill.recipes.fast import fast

WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sdi")
    parser.add_argument("--scene", default="nerf")
    parser.add_argument("--steps", type=int, default=12)
    flags = parser.parse_args()
    parts = build(fast("a purple snowman", method=flags.method, scene=flags.scene, device="cpu"))
    numbers, times, before = [], [], time.perf_counter()
    for step in parts.optimize():
        times.append(time.perf_counter() - before)
        numbers.append([float(step.distilled.grad.norm()), float(step.frame.rgb.mean()), step.regularization])
        if step.index + 1 == flags.steps:
            break
        before = time.perf_counter()
    print(json.dumps({"numbers": numbers, "seconds": statistics.median(times[WARM_UP:])}))


if __name__ == "__main__":
    main()
