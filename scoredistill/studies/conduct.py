"""Running a study: from its name and size to its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch

from scoredistill.config import Config, Iterations, Range, Seed, named
from scoredistill.evaluate.judge import Judge
from scoredistill.priors.diffusers.network import PublishedPrior
from scoredistill.priors.load import full_prior_name, is_toybox, load_prior
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.recipes.command import command_line
from scoredistill.recipes.preset import resolved_device
from scoredistill.runs.names import RUNS
from scoredistill.studies import STUDIES
from scoredistill.studies.report import write_report
from scoredistill.studies.study import CAPTIONS, Bench, Finding, Study

Captions = Annotated[int, Range(1, len(CAPTIONS))]
StudySteps = Annotated[int, Range(1, 100_000)]


@dataclass(frozen=True)
class Order(Config):
    """The name and size of a study; None leaves the size to the study."""

    name: str
    captions: Captions | None = None  # number of toys, one caption each; by default the study's own
    seeds: Iterations | None = None  # images for each caption
    steps: StudySteps | None = None  # updates of a distillation
    prior: str = "toybox"  # toybox, toybox-sd, or the path of weights or of a folder of such a prior
    seed: Seed = 0  # seed of everything random
    device: str = "auto"  # cpu, cuda or auto
    out: Path | None = None  # the folder of the page; by default runs/study-NAME-SEED


def conduct(order: Order, progress: Callable[[str], object] = str) -> tuple[Finding, Path]:
    """Run a study and write its folder; `progress` is called with what is being computed.

    ValueError for an unknown study, a bad size, or a folder that holds other files.
    """
    study = named("study", order.name, STUDIES)
    device = resolved_device(order.device)
    folder = order.out or RUNS / f"study-{study.name}-{order.seed}"
    _claim(folder)
    prior = study_prior(order.prior, device)
    bench = replace(bench_of(study, order, prior, Judge.load(device=device)), cache=folder / "cache", progress=progress)
    finding = study.run(bench)
    about = {"prior": order.prior, "device": device, "precision": str(precision(prior))}
    write_report(study, bench, finding, folder, about, command(study, bench, order))
    return finding, folder / "index.html"


def study_prior(name: str, device: str) -> ToyboxPrior | PublishedPrior:
    """The prior of a study; ValueError if it draws no toys, which the judge could not recognize."""
    full = full_prior_name(name)
    if is_toybox(full):
        prior = load_prior(full, device)
        if isinstance(prior, ToyboxPrior | PublishedPrior):
            return prior
    raise ValueError(f"studies run on Toybox's priors, not on {name!r}: use --prior toybox or toybox-sd")


def precision(prior: ToyboxPrior | PublishedPrior) -> torch.dtype:
    """The precision in which the network runs."""
    return prior.dtype if isinstance(prior, ToyboxPrior) else prior.net.dtype


def bench_of(study: Study, order: Order, prior: ToyboxPrior | PublishedPrior, judge: Judge) -> Bench:
    """The bench of an order, with the study's own size where the order has none."""
    captions, seeds, steps = (
        getattr(study, name) if getattr(order, name) is None else getattr(order, name)
        for name in ("captions", "seeds", "steps")
    )
    return Bench(prior, judge, CAPTIONS[:captions], seeds, steps, order.seed)


def command(study: Study, bench: Bench, order: Order) -> str:
    """The command line that repeats the study."""
    size = {"captions": len(bench.captions), "seeds": bench.seeds, "steps": bench.steps, "seed": bench.seed}
    flags = [word for name, value in size.items() for word in (f"--{name}", str(value))]
    return command_line("study", study.name, *flags, "--prior", order.prior)


def listing() -> str:
    """All studies, a line each."""
    width = max(map(len, STUDIES))
    return "\n".join(
        f"{name:{width}}  {study.title} ({study.paper.upper()}, {study.figure})" for name, study in STUDIES.items()
    )


def _claim(folder: Path) -> None:
    """Create the folder before the computation; only the files of an earlier study may be replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not any((folder / name).exists() for name in ("result.json", "cache")):
        raise ValueError(f"{folder} is not empty and holds no study; choose another folder with --out")
