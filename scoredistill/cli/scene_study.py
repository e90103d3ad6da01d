"""A study in 3D at the terminal: its runs as a sweep, then its measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scoredistill.cli.drive import StoppedError
from scoredistill.cli.shared_runs import check_reusable, reuse
from scoredistill.cli.signals import Signals
from scoredistill.cli.sweep_cost import ASSUMED, estimate
from scoredistill.cli.sweep_progress import SweepProgress, summary
from scoredistill.priors.load import describe_prior, full_prior_name, is_toybox
from scoredistill.recipes.command import command_line
from scoredistill.runs.evaluation.protocol import PROTOCOLS
from scoredistill.runs.names import RUNS
from scoredistill.studies.conduct import Order, claim
from scoredistill.studies.report import CACHE, SWEEP, Size, write_report
from scoredistill.studies.scene_conduct import Runs, concluded, gathered
from scoredistill.studies.scene_study import SceneStudy, Settings
from scoredistill.studies.study import CAPTIONS, Finding
from scoredistill.sweep.conduct import conduct
from scoredistill.sweep.local import LocalEngine
from scoredistill.sweep.plan import SweepConfig, trials
from scoredistill.sweep.prompt_sets import prompts_of
from scoredistill.sweep.trial import Trial

ORIGINAL = "sdi43"
"""The prompts of SDI's table 1."""
OFFICIAL = ("paper", "low-vram")
"""The presets of the papers' own size."""


def runs_of(study: SceneStudy, order: Order, folder: Path) -> tuple[Runs, SweepConfig]:
    """The runs of a study as it is ordered, and the sweep that makes them; what they start from is in `folder`.

    With the official settings and a published model of texts they are the paper's own prompts, as many as there.
    """
    prior = order.prior or study.prior
    needs = describe_prior(full_prior_name(prior))
    known, size = list(CAPTIONS), (study.captions, study.seeds)
    if order.preset in OFFICIAL and not (needs.picture or is_toybox(full_prior_name(prior))):
        known, size = prompts_of((ORIGINAL,)), study.paper_size
    runs = Runs.of(study, needs, known[: order.captions or size[0]], order.seeds or size[1])
    base = {"prior": prior, "device": order.device} | ({"steps": order.steps} if order.steps else {})
    grid = {**study.inputs(runs.captions, folder), "seed": list(range(order.seed, order.seed + runs.seeds))}
    return runs, SweepConfig(order.preset, (), base, grid, tuple(runs.arms.values()))


@contextmanager
def previewed(study: SceneStudy, order: Order) -> Iterator[tuple[Runs, list[Trial]]]:
    """The runs of a study as it is ordered, of which nothing stays on the disk; ValueError where it cannot be run."""
    with TemporaryDirectory() as scratch:
        runs, plan = runs_of(study, order, Path(scratch))
        yield runs, trials(plan, folder_of(study, order) / SWEEP)


def forecast(study: SceneStudy, order: Order) -> str:
    """What a study would run, and what that costs."""
    with previewed(study, order) as (runs, planned):
        cost = estimate(planned)
    count = f"{len(runs.captions)} prompts x {len(runs.arms)} arms x {runs.seeds} seeds"
    views = PROTOCOLS[protocol_of(study, order)].about
    return "\n".join(
        (
            f"{study.name}: {count} = {len(planned)} runs; {views}",
            *(f"  {arm}: {_listed(settings)}" for arm, settings in runs.arms.items()),
            f"{cost.calls:,.0f} denoiser calls, which evaluate {cost.images:,.0f} images",
            f"about {cost.hours / order.processes:.2f} hours with --processes {order.processes}",
            f"about {cost.gigabytes:.2f} GB on the disk",
            ASSUMED,
        )
    )


def protocol_of(study: SceneStudy, order: Order) -> str:
    """The views that are measured: the paper's with the official settings."""
    return study.protocol if order.preset in OFFICIAL else "quick"


def _listed(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def conduct_scenes(study: SceneStudy, order: Order, progress: Callable[[str], object]) -> tuple[Finding, Path]:
    """Make the runs that are missing, measure all, and write the folder of the study; repeated, it goes on.

    ValueError as `conduct` of a sweep; StoppedError where a signal stops it.
    """
    check_reusable(order.reuse)
    with previewed(study, order):  # whatever is wrong is an error before there is a folder
        folder = folder_of(study, order)
    claim(folder)
    runs, plan = runs_of(study, order, folder)
    again = command(study, order, runs, folder)
    planned = trials(plan, folder / SWEEP)
    if order.reuse:
        progress(f"{reuse(planned, folder, order.reuse)} of {len(planned)} runs reused")
    with Signals() as signals:
        signals.notice = "stopping the runs after their steps; once more ends them at once"
        try:
            with SweepProgress() as show:
                engine = LocalEngine(order.processes)
                tally = conduct(plan, folder / SWEEP, engine, retries=0, report=show, stop=signals.stop_requested)
        except KeyboardInterrupt:
            raise StoppedError(f"stopped at once; go on with: {again}", signals.code) from None
        if signals.stop_requested():
            raise StoppedError(f"stopped, {summary(tally)}; go on with: {again}", signals.code)
    folders = [trial.path for trial in planned]
    found = gathered(runs, folders, folder / CACHE, protocol_of(study, order), progress)
    finding = concluded(found)
    size = Size(list(runs.captions), runs.seeds, order.steps, order.seed, place="3D")
    about = {"prior": order.prior or study.prior, "device": order.device, "preset": order.preset}
    write_report(study, size, finding, folder, about, again)
    return finding, folder / "index.html"


def folder_of(study: SceneStudy, order: Order) -> Path:
    """The folder of a study, by default named after it and its seed."""
    return order.out or RUNS / f"study-{study.name}-{order.seed}"


def command(study: SceneStudy, order: Order, runs: Runs, folder: Path) -> str:
    """The command line that repeats the study."""
    size = {"captions": len(runs.captions), "seeds": runs.seeds, "steps": order.steps, "seed": order.seed}
    flags = [word for name, value in size.items() if value is not None for word in (f"--{name}", str(value))]
    flags += ["--device", order.device] if order.device != Order.device else []
    flags += ["--prior", order.prior or study.prior, "--preset", order.preset, "--processes", str(order.processes)]
    return command_line("study", study.name, *flags, *(["--out", str(folder)] if order.out else []))
