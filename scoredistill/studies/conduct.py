"""Running a study: from its name and size to its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from scoredistill.config import Config, Iterations, Range, Seed, named
from scoredistill.evaluate.judge import Judge
from scoredistill.priors.load import full_prior_name, load_prior
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
    prior: str = "toybox"  # toybox, or the path of Toybox weights (.safetensors)
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
    prior = load_prior(full_prior_name(order.prior), device)
    if not isinstance(prior, ToyboxPrior):
        raise ValueError(f"studies run on Toybox's priors, not on {order.prior!r}: use --prior toybox")
    bench = replace(bench_of(study, order, prior, Judge.load(device=device)), cache=folder / "cache", progress=progress)
    finding = study.run(bench)
    about = {"prior": order.prior, "device": device, "precision": str(prior.dtype)}
    write_report(study, bench, finding, folder, about, command(study, bench, order))
    return finding, folder / "index.html"


def bench_of(study: Study, order: Order, prior: ToyboxPrior, judge: Judge) -> Bench:
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
