"""The commands that start a run, or continue one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

from scoredistill.cli.drive import drive
from scoredistill.cli.forecast import forecast
from scoredistill.cli.view import watching
from scoredistill.config import Batch, Config, Count, GuidanceScale, Pixels, Seed
from scoredistill.recipes.build import build
from scoredistill.recipes.command import command_line
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.recipe import Recipe, Tracker, different
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.names import default_path
from scoredistill.runs.origin import RESUMABLE
from scoredistill.runs.trackers import check_installed
from scoredistill.viewer.server import Port


@dataclass(frozen=True)
class Generate(Config):
    """Generate a 3D model from a text prompt, or from a picture."""

    prompt: Positional[str] = ""  # the text prompt
    method: str = "sdi"  # score-distillation method, or FILE.py:NAME; see `scoredistill methods`
    scene: str = "nerf"  # what is optimized: nerf, splats, image, or FILE.py:NAME
    prior: str = "auto"  # diffusion model: auto (embedded), sd, a folder, org/name ...; see `scoredistill priors`
    preset: str = "fast"  # provides all other settings: fast, study, paper or low-vram
    seed: Seed = 0  # seed of all random numbers
    device: str = "auto"  # cpu, cuda, cuda:N, or auto: cuda if available
    image: str = ""  # input picture of the object, for priors that generate other views of it
    steps: Count | None = None  # optimization steps (--training.steps)
    batch: Batch | None = None  # camera views per optimization step (--training.batch)
    resolution: Pixels | None = None  # render resolution in pixels (--training.resolution)
    scale: GuidanceScale | None = None  # guidance scale (--method.scale)
    negative: str | None = None  # negative prompt (--prompt.negative)
    log: tuple[Tracker, ...] | None = None  # experiment trackers to log to, too (--output.log)
    out: Path | None = None  # folder of the run; by default runs/PROMPT-METHOD-SEED
    config: Path | None = None  # start from the recipe in this config.yaml; other flags override its settings
    dry_run: bool = False  # only print the recipe, denoiser calls, and time and memory measured on 3 steps
    view: bool = False  # show the run in the browser during training, where it can be paused and stopped
    port: Port | None = None  # port of that page on 127.0.0.1; by default 8080 or the next free port

    fixed_scene: ClassVar[str] = ""

    def run(self, recipe: Recipe) -> None:
        """Run the recipe that the flags make."""
        name, seed = name_of(recipe.method), recipe.training.seed
        parts = build(recipe)
        if self.dry_run:
            print(forecast(parts), end="")
            return
        check_installed(recipe.output.log)
        path = self.out or default_path(recipe.prompt.text, name, seed)
        with watching(self, path.name) as server:
            drive(RunFolder.create(recipe, path), parts, server=server)


@dataclass(frozen=True)
class Image(Generate):
    """Generate images from a text prompt by 2D distillation, several at once."""

    fixed_scene: ClassVar[str] = "image"


@dataclass(frozen=True)
class Resume(Config):
    """Continue a run exactly where it stopped; `--steps N` extends or shortens it."""

    folder: Positional[Path]  # folder of the run
    steps: Count | None = None  # total number of optimization steps (--training.steps)
    log: tuple[Tracker, ...] | None = None  # experiment trackers to log to, too (--output.log)
    accept_changes: bool = False  # continue even if config.yaml, the prior, the picture or the kernels have changed
    view: bool = False  # show the run in the browser during training, where it can be paused and stopped
    port: Port | None = None  # port of that page on 127.0.0.1; by default 8080 or the next free port

    def run(self, recipe: Recipe) -> None:
        """Continue the run with its recipe as the flags changed it."""
        folder = RunFolder.open(self.folder)
        for path in different(recipe, folder.recipe):
            if not path.startswith(RESUMABLE):
                again = command_line("generate", "--config", folder / "config.yaml")
                raise ValueError(f"resume cannot change {path}: start a new run with: {again}")
        if folder.edited:
            folder.load(accept=self.accept_changes)  # so that an edit is named before anything is made of it
        check_installed(recipe.output.log)
        parts = build(recipe)
        with watching(self, self.folder.absolute().name) as server:
            drive(folder.with_recipe(recipe), parts, accept=self.accept_changes, server=server)
