"""The command `sweep`: many runs, each in a folder of its own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from scoredistill.cli.drive import RunFailedError, StoppedError
from scoredistill.cli.signals import Signals
from scoredistill.cli.sweep_cost import ASSUMED, estimate
from scoredistill.cli.sweep_progress import SweepProgress, summary
from scoredistill.config import Config
from scoredistill.files import read_limited
from scoredistill.recipes.command import command_line
from scoredistill.recipes.preset import resolved_device
from scoredistill.recipes.recipe import cuda_index
from scoredistill.recipes.tree import LONGEST
from scoredistill.runs.names import RUNS
from scoredistill.sweep.conduct import PLAN, Retries, Tally, conduct
from scoredistill.sweep.engine import Engine, EngineError
from scoredistill.sweep.local import LocalEngine, Processes
from scoredistill.sweep.plan import SweepConfig, combined, read_plan, trials
from scoredistill.sweep.ray_cluster import Cpus, Gpus, RayEngine
from scoredistill.sweep.storage import Storage, is_url
from scoredistill.sweep.stored import Place, UploadEvery, conduct_stored, home
from scoredistill.sweep.values import assigned

SHOWN = 5  # failed trials in the message at the end; the others have their lines above
OF_ENGINE = {"processes": "local", "devices": "local", "address": "ray", "cpus": "ray", "gpus": "ray"}
"""The settings that belong to one engine."""
OF_URL = ("scratch", "upload_every")
"""The settings that belong to an --out that is a URL."""


@dataclass(frozen=True)
class Sweep(Config):
    """Run prompts x methods x seeds x any settings, from a YAML file or flags; the same command continues a sweep."""

    file: Positional[str] = ""  # YAML file or its URL, with preset, prompts, base, grid, list (docs/sweeps.md)
    prompts: tuple[str, ...] = ()  # prompt sets: sdi43, toybox20, toybox43, or text files with one prompt per line
    methods: tuple[str, ...] = ()  # score-distillation methods
    seeds: tuple[str, ...] = ()  # seeds: 0 1 2, or 0..9
    set_: Annotated[tuple[str, ...], arg(name="set")] = ()  # values of other settings: scene.samples=64,128 prior=sd
    preset: str = ""  # provides all other settings: fast, study, paper or low-vram; by default that of the file
    out: str = ""  # folder for the run folders, or URL such as s3://BUCKET/sweep; by default runs/sweep-FILE
    engine: Literal["local", "ray"] = "local"  # what runs the trials: processes of this machine, or a Ray cluster
    processes: Processes = 1  # number of trials at a time; they share the cores (local)
    devices: tuple[str, ...] = ()  # devices among which the trials are divided: cuda:0 cuda:1 (local)
    address: str = ""  # HOST:PORT of a running cluster; by default one is started on this machine (ray)
    cpus: Cpus = 1.0  # CPU cores reserved for each trial (ray)
    gpus: Gpus = 0.0  # GPUs reserved for each trial; 0.5 lets two trials share one (ray)
    scratch: str = ""  # working folder on each machine's local disk; by default in the user's cache (URL)
    upload_every: UploadEvery = 60.0  # seconds between uploads of a running trial (URL)
    retries: Retries = 0  # further attempts at a failed trial
    dry_run: bool = False  # only print the number of runs, denoiser calls, hours and gigabytes

    def check(self) -> None:
        """ValueError for a device that no machine has or no trial would use, or a setting of the other engine."""
        for device in self.devices:
            cuda_index(device)
        if (count := len(self.devices)) > self.processes and self.engine == "local":
            raise ValueError(
                f"{count} devices need --processes {count} or more: with {self.processes} some are never used"
            )
        for name, engine in OF_ENGINE.items():
            if engine != self.engine and getattr(self, name) != getattr(Sweep, name):
                raise ValueError(f"--{name} is a setting of --engine {engine}: leave it out, or choose that engine")
        for name in OF_URL:
            if not is_url(self.out) and getattr(self, name) != getattr(Sweep, name):
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(f"{flag} is a setting for results at a URL: leave it out, or name one by --out")

    def __call__(self) -> None:
        plan, folder = self._plan(), self._folder()
        place = self._place(folder)
        if self.dry_run:
            print(self._forecast(plan, folder, place))
            return
        engine = self._engine()
        again = self._again(folder, self.retries)
        if place is not None:
            print(f"{folder} is worked on in {home(folder, place.scratch)}, and in folders beside it", flush=True)
        with Signals() as signals:
            signals.notice = "stopping the trials after their steps; once more ends them at once"
            try:
                with SweepProgress() as show:
                    stop = signals.stop_requested
                    if place is None:
                        tally = conduct(plan, Path(folder), engine, retries=self.retries, report=show, stop=stop)
                    else:
                        tally = conduct_stored(plan, place, engine, retries=self.retries, report=show, stop=stop)
            except EngineError as error:
                raise RunFailedError(f"{error}; go on with: {again}") from None
            except KeyboardInterrupt:
                raise StoppedError(f"stopped at once; go on with: {again}", signals.code) from None
        if not tally.complete and signals.stop_requested():
            raise StoppedError(f"stopped, {tally.done} of {tally.total} done; go on with: {again}", signals.code)
        if tally.failed:
            most = max(failure.attempts for failure in tally.failed.values())
            raise RunFailedError(f"{_failures(tally)}; try them again with: {self._again(folder, most)}")
        print(f"{folder}: {summary(tally)}")

    def _plan(self) -> SweepConfig:
        """The plan of the file, with the settings of the flags in place of its own."""
        plan = _read(self.file) if self.file else SweepConfig()
        given = [("method", list(self.methods))] if self.methods else []
        given += [assigned(f"seed={','.join(self.seeds)}")] if self.seeds else []
        given += map(assigned, self.set_)
        axes: dict[str, Any] = {}
        for name, values in given:
            if name in axes:
                raise ValueError(f"{name} is given twice: give it once, with all of its values")
            axes[name] = values
        return combined(plan, axes, prompts=self.prompts, preset=self.preset)

    def _folder(self) -> str:
        """The folder of the sweep, or its URL."""
        if not self.out and not self.file:
            raise ValueError("name the folder of the sweep: --out DIR")
        if is_url(self.out):
            return self.out.rstrip("/")
        return str(Path(self.out) if self.out else RUNS / f"sweep-{Path(self.file).stem}")

    def _place(self, folder: str) -> Place | None:
        """The storage at a URL; None for a folder."""
        if not is_url(folder):
            return None
        scratch = str(Path(self.scratch).absolute()) if self.scratch else ""
        return Place(Storage.open(folder), scratch, self.upload_every)

    def _engine(self) -> Engine:
        """The engine; ValueError for a device that this machine does not have."""
        if self.engine == "local":
            for device in self.devices:
                resolved_device(device)
            return LocalEngine(self.processes, self.devices)
        return RayEngine(self.address, self.cpus, self.gpus)

    def _again(self, folder: str, retries: int) -> str:
        """The command that goes on with the sweep."""
        words = ["--engine", self.engine] if self.engine != "local" else []
        for name in (*OF_ENGINE, *OF_URL):
            value = getattr(self, name)
            if value != getattr(Sweep, name):
                words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [f"{value}"])]
        words += ["--retries", str(retries)] if retries else []
        return command_line("sweep", f"{folder}/{PLAN}", "--out", folder, *words)

    def _forecast(self, plan: SweepConfig, folder: str, place: Place | None) -> str:
        """How many runs are done and to be done, and what these cost."""
        with tempfile.TemporaryDirectory() as copies:
            planned = trials(plan, Path(folder)) if place is None else place.trials(plan, Path(copies))
            for trial in planned:
                trial.check()
            left = [trial for trial in planned if trial.state() != "done"]
        cost = estimate(left)
        return "\n".join(
            (
                f"{_runs(len(planned))} in {folder}, {len(planned) - len(left)} of them done",
                f"{len(left)} to run: {cost.calls:,.0f} denoiser calls, which evaluate {cost.images:,.0f} images",
                f"about {cost.hours / self.processes:.2f} hours {self._at_a_time()}",
                f"about {cost.gigabytes:.2f} GB on the disk",
                ASSUMED,
            )
        )

    def _at_a_time(self) -> str:
        return f"with --processes {self.processes}" if self.engine == "local" else "divided by the trials at a time"


def _read(file: str) -> SweepConfig:
    try:
        return read_plan(_content(file).decode(), file)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not YAML: write it in UTF-8") from None


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _content(file: str) -> bytes:
    """The content of a file, or of a URL; ValueError or OSError in one line."""
    if not is_url(file):
        return read_limited(Path(file), LONGEST)
    folder, _, name = file.rpartition("/")
    content = Storage.open(folder).read(name, LONGEST)
    if content is None:
        raise ValueError(f"there is no file {file}")
    return content


def _failures(tally: Tally) -> str:
    """Which trials failed, and why, in one line."""
    lines = [f"{name}: {failure.line}" for name, failure in list(tally.failed.items())[:SHOWN]]
    lines += ["..."] if len(tally.failed) > SHOWN else []
    return f"{len(tally.failed)} of {tally.total} trials failed, {tally.done} are done: {'; '.join(lines)}"
