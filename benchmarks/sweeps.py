"""What a sweep promises: nothing lost and nothing made twice when it is killed, little time beside the runs themselves.

    python benchmarks/sweeps.py killed ray speed

killed: 24 tiny trials, the sweep ended ten times at random by SIGKILL and begun again. ray: the same trials on a
cluster of two nodes of one core, one of them killed. Both against an undisturbed sweep. speed: seconds of a trial
beside a bare `generate`, and of 8 trials on one process and on two; by the wall clock and of the processors.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from scoredistill.evaluate.report import markdown
from scoredistill.runs.folder import RunFolder
from scoredistill.sweep.conduct import Tally, conduct
from scoredistill.sweep.engine import End
from scoredistill.sweep.plan import SweepConfig, trials
from scoredistill.sweep.ray_cluster import RayEngine, library

RESULTS = Path("benchmarks/results")
TINY = {"scene": "image", "scene.count": 1, "batch": 1, "resolution": 16, "steps": 3, "training.save_every": 1}
PROMPT = "a red car"
PLAN = SweepConfig(base=TINY, grid={"prompt": [PROMPT], "method": ["sjc", "sds", "csd"], "seed": "0..7"})
KILLS = 10
STEPS = 9  # of all trials before a kill, at most

Row = dict[str, Any]


def command(*words: object) -> list[str]:
    """The words of a command of the package."""
    return [sys.executable, "-m", "scoredistill", *map(str, words)]


def sweep(folder: Path, processes: int, *, methods: Sequence[str], seeds: str) -> list[str]:
    """The command of a sweep of tiny trials."""
    settings = [f"{name}={value}" for name, value in {"prompt": PROMPT, **TINY}.items()]
    flags = ["--methods", *methods, "--seeds", seeds, "--processes", processes, "--set", *settings]
    return command("sweep", "--out", folder, *flags)


def whole_sweep(folder: Path) -> list[str]:
    """The command of the 24 trials."""
    return sweep(folder, 2, methods=PLAN.grid["method"], seeds="0..7")


def finished(folder: Path) -> dict[str, int]:
    """When each of the finished trials wrote its metrics, in nanoseconds."""
    done = [trial for trial in trials(PLAN, folder) if trial.state() == "done"]
    return {trial.name: (trial.path / "metrics.json").stat().st_mtime_ns for trial in done}


def steps_logged(folder: Path) -> int:
    """The steps of all trials so far."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*/log.jsonl"))


def verdict(folder: Path, undisturbed: Path, kills: int, repeated: int) -> Row:
    """How the trials of a disturbed sweep compare with those of an undisturbed one."""
    names = [trial.name for trial in trials(PLAN, folder)]
    runs = [(RunFolder.open(folder / name), RunFolder.open(undisturbed / name)) for name in names]
    equal = [_same(ours.load(), expected.load()) for ours, expected in runs]
    steps = [[record["step"] for record in ours.log()] == list(range(TINY["steps"])) for ours, _ in runs]
    return {
        "kills": kills,
        "trials": len(names),
        "results": len(finished(folder)),
        "finished trials made again": repeated,
        "logs with each step once": sum(steps),
        "identical to the undisturbed sweep": sum(equal),
    }


def _same(ours: Any, expected: Any) -> bool:
    mine, theirs = ours["scene"], expected["scene"]
    return mine.keys() == theirs.keys() and all(
        torch.equal(mine[name], value) if isinstance(value, torch.Tensor) else mine[name] == value
        for name, value in theirs.items()
    )


def killed(folder: Path, undisturbed: Path) -> Row:
    """A sweep that is killed at random moments, and begun again each time."""
    rng, before, repeated = random.Random(0), dict[str, int](), 0
    for kill in range(KILLS + 1):
        process = subprocess.Popen(whole_sweep(folder), stdout=subprocess.DEVNULL)
        if kill < KILLS:
            wanted = steps_logged(folder) + rng.randint(1, STEPS)
            while process.poll() is None and steps_logged(folder) < wanted:
                time.sleep(0.01)
            time.sleep(rng.random())
            process.send_signal(signal.SIGKILL)
        process.wait()
        now = finished(folder)
        repeated += sum(now.get(name) != moment for name, moment in before.items())
        before = now
        print(f"killed {min(kill + 1, KILLS)} times, {len(now)} done", flush=True)
    return {"engine": "2 processes, the sweep killed"} | verdict(folder, undisturbed, KILLS, repeated)


def on_ray(folder: Path, undisturbed: Path) -> Row:
    """A sweep on two nodes, one of which is killed when a third of the trials is done."""
    library()
    os.environ.update({"RAY_worker_niceness": "0"})
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ended: list[str] = []

    def report(tally: Tally, end: End | None) -> None:
        nonlocal second
        if end is not None:
            ended.append(end.trial.name)
            print(f"{len(ended)} ended, {tally.done} done, exit code {end.code} {end.line}", flush=True)
        if second is not None and len(ended) >= 8 and len(tally.running) == 2:
            cluster.remove_node(second, allow_graceful=False)
            second = None

    try:
        conduct(PLAN, folder, RayEngine(str(cluster.address)), retries=0, report=report, stop=lambda: False)
    finally:
        cluster.shutdown()
    repeated = len(ended) - len(set(ended))
    return {"engine": "Ray, 2 nodes, one of them killed"} | verdict(folder, undisturbed, 1, repeated)


def timed(words: list[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def speed(folder: Path) -> list[Row]:
    """Seconds of a trial beside a bare run, and of 8 trials on one process and on two."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if name != "scene"]
    bare = command("generate", PROMPT, "--scene", "image", "--method", "sds", "--seed", 0, *flags, "--out")
    tasks: dict[str, tuple[list[str], int]] = {
        "a bare generate": ([*bare, str(folder / "bare")], 1),
        "a sweep of one trial": (sweep(folder / "one", 1, methods=["sds"], seeds="0"), 1),
        "8 trials, 1 process": (sweep(folder / "eight", 1, methods=["sds"], seeds="0..7"), 8),
        "8 trials, 2 processes": (sweep(folder / "pairs", 2, methods=["sds"], seeds="0..7"), 8),
    }
    rows: list[Row] = []
    for name, (words, count) in tasks.items():
        wall, processor = timed(words)
        each = {"seconds a trial": round(wall / count, 2), "processor seconds a trial": round(processor / count, 2)}
        rows.append({"command": name, "seconds": round(wall, 2), "processor seconds": round(processor, 2)} | each)
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=("killed", "ray", "speed"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--undisturbed", type=Path, help="the folder of an undisturbed sweep; by default one is made")
    flags = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    file = flags.out / "sweeps.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        undisturbed = flags.undisturbed or folder / "undisturbed"
        if {"killed", "ray"} & set(flags.parts):
            subprocess.run(whole_sweep(undisturbed), check=True)
        measures: dict[str, Callable[[], Any]] = {
            "killed": lambda: [killed(folder / "killed", undisturbed)],
            "ray": lambda: [on_ray(folder / "ray", undisturbed)],
            "speed": lambda: speed(folder / "speed"),
        }
        for part in flags.parts:
            (folder / part).mkdir(exist_ok=True)
            results[part] = {"rows": measures[part](), "about": provenance()}
            file.write_text(json.dumps(results, indent=2) + "\n")
    text = "# Sweeps\n"
    for part, found in sorted(results.items()):
        facts = "\n".join(f"- {name}: {value}" for name, value in found["about"].items())
        text += f"\n## {part}\n\n{markdown(found['rows'])}\n\n{facts}\n"
    file.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
