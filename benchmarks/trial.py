"""A short run of whatever `scoredistill` is on the path: what it computes and how long a step takes, as JSON.

    PYTHONPATH=CHECKOUT python benchmarks/trial.py --method sdi --steps 12

`compare.py` runs it against two commits; it uses nothing but what both have.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from scoredistill.parts import build
from scoredistill.run import Run, resolve

WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sdi")
    parser.add_argument("--scene", default="nerf")
    parser.add_argument("--steps", type=int, default=12)
    flags = parser.parse_args()
    parts = build(resolve(Run("a purple snowman", flags.method, flags.scene, device="cpu")))
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
