"""How the cost of rendering a radiance field, forward and backward, grows with what is asked of it.

    GOMP_SPINCOUNT=5000 python benchmarks/scaling.py

One thing varies at a time, from the fast preset's field of a soft ball: pixels, samples along a ray, views, the
occupied part of the volume, threads. The exponent is the slope of log time over log quantity, by least squares. The
variable is what the command line sets for itself (scoredistill/kernels/openmp.py).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.timing import seconds
from scoredistill.evaluate.report import markdown
from scoredistill.recipes.fast import NERF, NERF_LOSSES
from scoredistill.scenes.nerf import NeRF, NerfConfig
from scoredistill.views import OrbitConfig

SIZE, VIEWS = 64, 4  # the fast preset's
FIELD = replace(NERF, regularizers=NERF_LOSSES)

Task = Callable[[], object]


def task(settings: NerfConfig, size: int = SIZE, views: int = VIEWS) -> Task:
    """Forward and backward of one render, over the settings' field as a run begins it."""
    scene = NeRF(settings, torch.Generator().manual_seed(0))
    cameras = OrbitConfig().cameras(views, torch.Generator().manual_seed(1), resolution=size)
    background = torch.full((3,), 0.5)

    def render() -> None:
        frame = scene.render(cameras, background, torch.Generator().manual_seed(2))
        (frame.rgb.square().mean() + scene.regularizer(frame, cameras, 0.1)).backward()

    return render


def occupied(settings: NerfConfig) -> float:
    """The share of the volume that rays do not skip."""
    return float(NeRF(settings, torch.Generator().manual_seed(0)).grid.occupied().float().mean())


def curve(name: str, points: Iterable[tuple[float, Task]], repeats: int) -> dict[str, object]:
    """Milliseconds at each value of one quantity, and the exponent of their growth."""
    found = [(value, 1e3 * statistics.median(seconds(work, repeats))) for value, work in points]
    logs = np.log(np.array(found))
    row = {"quantity": name, "exponent": round(float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0]), 2)}
    row["milliseconds"] = ", ".join(f"{value:.4g}: {spent:.1f}" for value, spent in found)
    print(row, flush=True)
    return row


def with_threads(count: int, work: Task) -> Task:
    """The same work on so many threads."""

    def on_threads() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            work()
        finally:
            torch.set_num_threads(before)

    return on_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scaling.json"))
    flags = parser.parse_args()
    samples = [(n, task(replace(FIELD, samples=n))) for n in (48, 96, 192, 384)]
    balls = [replace(FIELD, blob_radius=radius) for radius in (0.2, 0.3, 0.4, 0.5)]
    threads = [2**k for k in range(1 + int(math.log2(os.cpu_count() or 1)))]
    rows = [
        curve("pixels", [(n * n, task(FIELD, size=n)) for n in (32, 64, 96, 128)], flags.repeats),
        curve("samples along the diagonal", samples, flags.repeats),
        curve("views", [(n, task(FIELD, views=n)) for n in (1, 2, 4, 8)], flags.repeats),
        curve("occupied share of the volume", [(occupied(ball), task(ball)) for ball in balls], flags.repeats),
    ]
    for size in (SIZE, 4 * SIZE) if len(threads) > 1 else ():
        work = task(FIELD, size=size)
        points = [(n, with_threads(n, work)) for n in threads]
        rows.append(curve(f"threads, views of {size} x {size}", points, flags.repeats))
    flags.out.write_text(json.dumps({"curves": rows} | provenance(), indent=2) + "\n")
    flags.out.with_suffix(".md").write_text(markdown(rows) + "\n")
    print(markdown(rows))


if __name__ == "__main__":
    main()
