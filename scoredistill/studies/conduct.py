"""Conducting a study: from its name and size to its folder."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from scoredistill.evaluate.judge import Judge
from scoredistill.folder import RUNS
from scoredistill.parts import build_prior
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.run import Run, resolve
from scoredistill.settings import named
from scoredistill.studies import STUDIES
from scoredistill.studies.report import write_report
from scoredistill.studies.study import CAPTIONS, Bench, Finding, Study


@dataclass(frozen=True)
class Order:
    """A study as it is asked for; None leaves the choice to the study."""

    name: str
    captions: int | None = None  # toys, one caption each; by default as the study has it
    seeds: int | None = None  # images for each caption
    steps: int | None = None  # updates of a distillation
    prior: str = "toybox"  # toybox, or the path of Toybox weights (.safetensors)
    seed: int = 0  # of everything that is random
    device: str = "auto"  # cpu, cuda or auto
    out: Path | None = None  # the folder of the page; by default runs/study-NAME-SEED


def conduct(order: Order, told: Callable[[str], object] = str) -> tuple[Finding, Path]:
    """Run a study and write its folder, `told` hears how it goes.

    ValueError for an unknown study, a bad size, or a folder of something else.
    """
    study = named("study", order.name, STUDIES)
    run = resolve(Run(CAPTIONS[0], prior=order.prior, seed=order.seed, device=order.device))
    folder = order.out or RUNS / f"study-{study.name}-{order.seed}"
    _claim(folder)
    prior = build_prior(run)
    assert isinstance(prior, ToyboxPrior)
    bench = replace(bench_of(study, order, prior, Judge.load(device=run.device)), kept=folder / "kept", told=told)
    finding = study.run(bench)
    about = {"prior": order.prior, "device": run.device, "precision": str(prior.dtype)}
    write_report(study, bench, finding, folder, about, command(study, bench, order))
    return finding, folder / "index.html"


def bench_of(study: Study, order: Order, prior: ToyboxPrior, judge: Judge) -> Bench:
    """The bench of an order, in the study's own size where it does not say; ValueError for less than one."""
    captions, seeds, steps = (
        getattr(study, name) if getattr(order, name) is None else getattr(order, name)
        for name in ("captions", "seeds", "steps")
    )
    for name, value in (("captions", captions), ("seeds", seeds), ("steps", steps)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if captions > len(CAPTIONS):
        raise ValueError(f"there are {len(CAPTIONS)} captions for studies, got --captions {captions}: take more seeds")
    return Bench(prior, judge, CAPTIONS[:captions], seeds, steps, order.seed)


def command(study: Study, bench: Bench, order: Order) -> str:
    """What conducts the same study again."""
    size = f"--captions {len(bench.captions)} --seeds {bench.seeds} --steps {bench.steps} --seed {bench.seed}"
    return f"scoredistill study {study.name} {size} --prior {shlex.quote(order.prior)}"


def listing() -> str:
    """All studies, a line each."""
    width = max(map(len, STUDIES))
    return "\n".join(
        f"{name:{width}}  {study.title} ({study.paper.upper()}, {study.figure})" for name, study in STUDIES.items()
    )


def _claim(folder: Path) -> None:
    """Make the folder, now rather than after minutes; what an earlier study wrote may be replaced, nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not any((folder / name).exists() for name in ("result.json", "kept")):
        raise ValueError(f"{folder} is not empty and holds no study; choose another folder with --out")
