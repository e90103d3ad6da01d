"""Train every embedded model from nothing in one go: data, judge, priors, toybox-sd; made for a machine with a GPU.

    python tools/train_all.py --minutes 10 --out data/all                      an accelerator and sixteen cores
    python tools/train_all.py --minutes 2 --out /tmp/all --views 256 --batch 16   a rehearsal on a CPU

All views are rendered first, by every core; then the models share what is left of the time, one after the other, each
from the weights of the one that it starts from. Needs no network. The weights and their cards are in the folder
`weights` of --out; nothing that is embedded is replaced.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parent
SHORTEST = 0.01  # minutes of all trainings that are left, if the data took all of the time


@dataclass(frozen=True)
class Stage:
    """The training of one model, with the sizes that suit a large GPU."""

    name: str  # of its weights
    tool: str
    share: float  # of the training time
    views: int
    batch: int
    rate: float
    data: str
    begin: str = ""  # the weights that it starts from
    suffix: str = ".safetensors"
    times: tuple[tuple[str, float], ...] = ()  # flags of other times, as shares of the stage's
    batches: tuple[tuple[str, float], ...] = ()  # flags of other batches, as shares of the stage's


STAGES = (
    Stage("toybox-judge", "train_judge.py", 0.10, 57_344, 1024, 2e-3, "judge"),
    Stage("toybox-parts", "train_parts.py", 0.04, 14_336, 512, 2e-3, "parts"),
    Stage("toybox-prior", "train_toybox.py", 0.22, 98_304, 512, 1.5e-3, "prior"),
    Stage("toybox-mv", "train_toybox_mv.py", 0.20, 65_536, 512, 1e-3, "mv", begin="toybox-prior"),
    Stage("toybox-pose", "train_toybox_pose.py", 0.16, 65_536, 384, 1e-3, "mv", begin="toybox-mv"),
    Stage(
        name="toybox-sd",
        tool="train_toybox_sd.py",
        share=0.28,
        views=32_768,
        batch=1024,
        rate=1.5e-3,
        data="sd",
        suffix="",
        times=(("vae-minutes", 0.3),),
        batches=(("vae-batch", 1 / 8),),
    ),
)


def words(stage: Stage, flags: argparse.Namespace) -> list[str]:
    """The command of a stage but for its time."""
    sizes = {"views": flags.views or stage.views, "batch": flags.batch or stage.batch, "rate": stage.rate}
    weights = flags.out / "weights"
    paths = {
        "data": flags.out / f"data-{stage.data}",
        "out": flags.out / f"train-{stage.name}",
        "weights": weights / f"{stage.name}{stage.suffix}",
    }
    others = {name: max(int(share * sizes["batch"]), 1) for name, share in stage.batches}
    begin = {"begin": weights / f"{stage.begin}.safetensors"} if stage.begin else {}
    settings = {**sizes, **others, **paths, **begin, "renderers": os.cpu_count() or 1, "seed": flags.seed}
    pairs = [(f"--{name}", str(value)) for name, value in settings.items()]
    return [sys.executable, str(TOOLS / stage.tool), *(word for pair in pairs for word in pair)]


def minutes(stage: Stage, budget: float) -> list[str]:
    """The flags that divide the time of a stage."""
    parts = {name: share * budget for name, share in stage.times}
    parts = {"minutes": budget - sum(parts.values()), **parts}
    return [word for name, value in parts.items() for word in (f"--{name}", f"{value:.4f}")]


def train_all(stages: Sequence[Stage], flags: argparse.Namespace) -> None:
    """Render for all stages, then train each for its share of what is left of the time."""
    began = time.monotonic()
    (flags.out / "weights").mkdir(parents=True, exist_ok=True)
    for stage in stages:
        subprocess.run([*words(stage, flags), "--only-data"], check=True)
    print(f"data: {(time.monotonic() - began) / 60:.1f} min", flush=True)
    for index, stage in enumerate(stages):
        left = flags.minutes - (time.monotonic() - began) / 60
        budget = max(left, SHORTEST) * stage.share / sum(each.share for each in stages[index:])
        print(f"{stage.name}: {budget:.1f} min", flush=True)
        subprocess.run([*words(stage, flags), *minutes(stage, budget)], check=True)
    print(f"all: {(time.monotonic() - began) / 60:.1f} min")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [stage.name for stage in STAGES]
    parser.add_argument("--minutes", type=float, default=10, help="time in all, that of the data included")
    parser.add_argument("--out", type=Path, default=Path("data/all"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--views", type=int, help="views of each model instead of its own number")
    parser.add_argument("--batch", type=int, help="images per step of each model instead of its own number")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="models to train, by default all")
    flags = parser.parse_args()
    train_all([stage for stage in STAGES if stage.name in flags.only], flags)


if __name__ == "__main__":
    main()
