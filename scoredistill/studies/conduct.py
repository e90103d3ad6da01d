"""Running a study: from its name and size to its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from scoredistill.config import Config, Iterations, Range, Seed
from scoredistill.evaluate.judge import Judge
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.priors.load import full_prior_name, is_toybox, load_prior
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.recipes.command import command_line
from scoredistill.recipes.preset import resolved_device
from scoredistill.runs.names import RUNS
from scoredistill.studies import SCENE_STUDIES, STUDIES
from scoredistill.studies.pictured import PICTURES
from scoredistill.studies.report import CACHE, RESULT, SWEEP, Size, write_report
from scoredistill.studies.study import CAPTIONS, Bench, Finding, Study

VERDICTS = Path(__file__).with_name("verdicts.json")
"""What the studies found on the embedded priors: study -> prior -> verdict, by `tools/write_studies_doc.py`."""

Captions = Annotated[int, Range(1, len(CAPTIONS))]
StudySteps = Annotated[int, Range(1, 100_000)]


@dataclass(frozen=True)
class Order(Config):
    """The name and size of a study; None leaves the size to the study."""

    name: str
    captions: Captions | None = None  # number of captions, one toy each; by default the study's own
    seeds: Iterations | None = None  # seeds per caption
    steps: StudySteps | None = None  # optimization steps; in 3D by default those of the preset
    prior: str = ""  # toybox or toybox-sd, in 3D any prior of `generate`; by default the study's own
    seed: Seed = 0  # seed of all random numbers
    device: str = "auto"  # cpu, cuda, cuda:N, or auto
    out: Path | None = None  # output folder; by default runs/study-NAME-SEED
    preset: str = "study"  # preset of 3D runs: study, fast, paper or low-vram
    processes: Annotated[int, Range(1, 1024)] = 1  # number of 3D runs at a time; they share the cores
    reuse: tuple[Path, ...] = ()  # folders of other 3D studies, from which runs with equal settings are copied
    dry_run: bool = False  # only print what a 3D study would run, and its cost


def conduct(order: Order, progress: Callable[[str], object] = str) -> tuple[Finding, Path]:
    """Run a study and write its folder; `progress` is called with what is being computed.

    ValueError for an unknown study, a bad size, or a folder that holds other files.
    """
    study = STUDIES[order.name]
    order = replace(order, prior=order.prior or study.prior)
    device = resolved_device(order.device)
    folder = order.out or RUNS / f"study-{study.name}-{order.seed}"
    prior = study_prior(order.prior, device)
    claim(folder)
    bench = replace(bench_of(study, order, prior, Judge.load(device=device)), cache=folder / CACHE, progress=progress)
    finding = study.run(bench)
    about = {"prior": order.prior, "device": device, "precision": str(prior.dtype)}
    size = Size(bench.captions, bench.seeds, bench.steps, bench.seed)
    write_report(study, size, finding, folder, about, command(study, bench, order))
    return finding, folder / "index.html"


def study_prior(name: str, device: str) -> ToyboxPrior | DiffusersPrior:
    """The prior of a study; ValueError if it draws no toys, which the judge could not recognize."""
    full = full_prior_name(name)
    if is_toybox(full):
        prior = load_prior(full, device)
        if isinstance(prior, ToyboxPrior | DiffusersPrior):
            return prior
    raise ValueError(f"studies run on Toybox's priors, not on {name!r}: use --prior toybox or toybox-sd")


def bench_of(study: Study, order: Order, prior: ToyboxPrior | DiffusersPrior, judge: Judge) -> Bench:
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
    flags += ["--device", order.device] if order.device != Order.device else []
    return command_line("study", study.name, *flags, "--prior", order.prior)


def listing() -> str:
    """All studies, a line each, with the verdicts on the embedded priors."""
    every = [(study, "2D") for study in STUDIES.values()] + [(study, "3D") for study in SCENE_STUDIES.values()]
    width, known = max(len(study.name) for study, _ in every), json.loads(VERDICTS.read_text())
    return "\n".join(
        f"{study.name:{width}}  {study.title} ({study.paper.upper()}, {study.figure}; {place}): "
        + ("; ".join(f"{verdict} on {prior}" for prior, verdict in known.get(study.name, {}).items()) or "not run yet")
        for study, place in every
    )


def claim(folder: Path) -> None:
    """Create the folder before the computation; only the files of an earlier study may be replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    own = (RESULT, CACHE, SWEEP, PICTURES)
    if any(folder.iterdir()) and not any((folder / name).exists() for name in own):
        raise ValueError(f"{folder} is not empty and contains no study; choose another folder with --out")
