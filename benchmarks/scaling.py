"""How the cost of rendering a radiance field, forward and backward, grows with what is asked of it.

    GOMP_SPINCOUNT=20000 python benchmarks/scaling.py

One thing varies at a time, from the fast preset's field of a soft ball: pixels, samples along a ray, views, the
occupied part of the volume, threads. The exponent is the slope of log time over log quantity, by least squares. The
variable is what the command line sets for itself (scoredistill/kernels/openmp.py).

More threads than the machine has cores are predicted from measured parts: for N threads the kernels are cut into the
slices that N threads would get, each is timed alone, and threads take them as they would; what is left (operations of
torch, Python) is a s + b s / N, fitted to one and two threads. A common limit of the memory's rate is not in it.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.timing import now, seconds
from scoredistill.evaluate.report import markdown
from scoredistill.kernels import team
from scoredistill.recipes.fast import NERF, NERF_LOSSES
from scoredistill.scenes.nerf import NeRF, NerfConfig
from scoredistill.views import OrbitConfig

SIZE, VIEWS = 64, 4  # the fast preset's
THREADS = (1, 2, 4, 8, 16)
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


@contextmanager
def kernels_replaced(run: Callable[..., None], threads: int) -> Iterator[None]:
    """Within the context, `run` gets the slices of kernels, cut for so many threads."""
    before = team.run, torch.get_num_threads
    team.run, torch.get_num_threads = run, lambda: threads
    try:
        yield
    finally:
        team.run, torch.get_num_threads = before


def slice_seconds(work: Task, threads: int) -> list[list[float]]:
    """The seconds of each slice of each kernel of the work, cut for so many threads and run by one."""
    found: list[list[float]] = []

    def timed(function: Any, slices: Sequence[team.Slice]) -> None:
        times = [now()]
        for each in slices:
            run(function, [each])
            times.append(now())
        found.append([end - begin for begin, end in itertools.pairwise(times)])

    run = team.run
    with kernels_replaced(timed, threads):
        with_threads(1, work)()
    return found


def makespan(tasks: Sequence[float], threads: int) -> float:
    """Seconds until all tasks are done, if a free thread takes the next one."""
    busy = [0.0] * threads
    for task_seconds in tasks:
        heapq.heapreplace(busy, busy[0] + task_seconds)
    return max(busy)


def in_kernels(work: Task, threads: int, repeats: int) -> tuple[float, float]:
    """The seconds of the work on so many threads, of the fastest of several runs: all of them, and those in kernels."""
    spent: list[float] = []
    found = []

    def timed(function: Any, slices: Sequence[team.Slice]) -> None:
        began = now()
        run(function, slices)
        spent.append(now() - began)

    run = team.run
    with kernels_replaced(timed, threads):
        for _ in range(repeats + 1):
            spent.clear()
            began = now()
            with_threads(threads, work)()
            found.append((now() - began, sum(spent)))
    return min(found[1:])  # the first warms up


def predicted(work: Task, repeats: int) -> list[dict[str, float]]:
    """Milliseconds on each number of threads as predicted, and as measured where there are as many cores."""
    cores = os.cpu_count() or 1
    measured = {n: in_kernels(work, n, repeats) for n in THREADS if n <= cores}
    one, two = (total - kernels for total, kernels in (measured[1], measured[2]))
    rows = []
    for n in THREADS:
        found = [slice_seconds(work, n) for _ in range(repeats)]
        launches = ([min(times) for times in zip(*slices, strict=True)] for slices in zip(*found, strict=True))
        kernels = sum(makespan(tasks, n) for tasks in launches)
        rest = one - 2 * (one - two) * (1 - 1 / n)
        row = {"threads": n, "kernels": 1e3 * kernels, "the rest": 1e3 * rest, "in all": 1e3 * (kernels + rest)}
        row |= (
            {"measured kernels": 1e3 * measured[n][1], "measured in all": 1e3 * measured[n][0]} if n in measured else {}
        )
        rows.append({name: round(value, 1) for name, value in row.items()})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scaling.json"))
    flags = parser.parse_args()
    samples = [(n, task(replace(FIELD, samples=n))) for n in (48, 96, 192, 384)]
    balls = [replace(FIELD, blob_radius=radius) for radius in (0.2, 0.3, 0.4, 0.5)]
    rows = [
        curve("pixels", [(n * n, task(FIELD, size=n)) for n in (32, 64, 96, 128)], flags.repeats),
        curve("samples along the diagonal", samples, flags.repeats),
        curve("views", [(n, task(FIELD, views=n)) for n in (1, 2, 4, 8)], flags.repeats),
        curve("occupied share of the volume", [(occupied(ball), task(ball)) for ball in balls], flags.repeats),
    ]
    record: dict[str, object] = {"curves": rows}
    tables = [markdown(rows)]
    for size in (SIZE, 4 * SIZE) if (os.cpu_count() or 1) > 1 else ():
        title = f"threads, {VIEWS} views of {size} x {size}"
        by_threads = predicted(task(FIELD, size=size), flags.repeats)
        record[title] = by_threads
        tables.append(f"Milliseconds by {title}:\n\n{markdown(by_threads, digits=1)}")
    flags.out.write_text(json.dumps(record | provenance(), indent=2) + "\n")
    flags.out.with_suffix(".md").write_text("\n".join(tables))
    print(*tables, sep="\n")


if __name__ == "__main__":
    main()
