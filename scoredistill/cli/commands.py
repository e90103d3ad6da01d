"""The commands, each a dataclass of its flags that is called to run it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import Positional

from scoredistill.cli.doctor import examine
from scoredistill.cli.drive import drive
from scoredistill.cli.forecast import forecast
from scoredistill.cli.method_help import method_page, methods_table
from scoredistill.cli.metric_help import metrics_table
from scoredistill.cli.progress import Ticker
from scoredistill.cli.sweep import Sweep
from scoredistill.cli.view import View, watching
from scoredistill.compare.conduct import Comparison, compare
from scoredistill.config import (
    Batch,
    Config,
    Count,
    Degrees,
    Elevation,
    GuidanceScale,
    Iterations,
    Pixels,
    Range,
    Seed,
    named,
    nearest,
)
from scoredistill.contracts import Prompt
from scoredistill.evaluate.report import markdown, summarize
from scoredistill.export.findings import VERDICTS
from scoredistill.export.images import grid, preview, write_png, write_turntable
from scoredistill.files import check_replaceable
from scoredistill.methods.catalogue import METHODS
from scoredistill.priors.load import full_prior_name, priors_help
from scoredistill.recipes.build import background_color, build
from scoredistill.recipes.command import command_line
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.preset import resolved_device
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import (
    Faces,
    Frames,
    MeshResolution,
    OutputConfig,
    PriorConfig,
    Recipe,
    Texels,
    Threshold,
    Tracker,
    changed,
    different,
)
from scoredistill.runs.finish import open_3d_scene
from scoredistill.runs.folder import RunFolder, check_distinct
from scoredistill.runs.formats import check_output, file_name, format_of, write
from scoredistill.runs.measures import Measuring
from scoredistill.runs.names import default_path, unused_path
from scoredistill.runs.origin import RESUMABLE
from scoredistill.runs.renders import ELEVATION_DEG, render_views, turntable
from scoredistill.runs.samples import samples
from scoredistill.runs.sets import Evaluated, of_sets
from scoredistill.runs.table import check_table, evaluated, write_table
from scoredistill.runs.trackers import check_installed
from scoredistill.studies.conduct import Order, conduct, listing
from scoredistill.viewer.server import Port

COLUMNS = ("run", "kind_right", "color_right", "view_right", "similarity", "sharpness", "diverged", "seen_as")
VIEWS = 64  # of one picture, at most


@dataclass(frozen=True)
class Generate(Config):
    """Generate a 3D model from a text prompt, or from a picture."""

    prompt: Positional[str] = ""  # the text prompt
    method: str = "sdi"  # score-distillation method, or FILE.py:NAME; see `scoredistill methods`
    scene: str = "nerf"  # what is optimized: nerf, splats, image, or FILE.py:NAME
    prior: str = (
        "auto"  # the 2D diffusion model: auto (embedded), sd, a folder, org/name ...; see `scoredistill priors`
    )
    preset: str = "fast"  # where all other settings come from: fast, paper or low-vram
    seed: Seed = 0  # seed of everything random
    device: str = "auto"  # cpu, cuda, cuda:N, or auto: cuda where there is one
    image: str = ""  # a picture of the object to start from, for priors that generate other views of it
    steps: Count | None = None  # optimization steps (--training.steps)
    batch: Batch | None = None  # camera views per optimization step (--training.batch)
    resolution: Pixels | None = None  # render resolution in pixels (--training.resolution)
    scale: GuidanceScale | None = None  # guidance scale (--method.scale)
    negative: str | None = None  # negative prompt (--prompt.negative)
    log: tuple[Tracker, ...] | None = None  # where the run is logged to as well (--output.log)
    out: Path | None = None  # the run's folder; by default runs/PROMPT-METHOD-SEED
    config: Path | None = None  # start from the recipe in this config.yaml; other flags replace its settings
    dry_run: bool = False  # print the recipe, its denoiser calls, time and memory, measured on 3 steps; write nothing
    view: bool = False  # watch the run in the browser while it trains; pause and stop it there
    port: Port | None = None  # of that page on 127.0.0.1; by default 8080, or the next one that is free

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

    folder: Positional[Path]  # of the run
    prompt: str = ""  # not used
    steps: Count | None = None  # optimization steps in all (--training.steps)
    log: tuple[Tracker, ...] | None = None  # where the run is logged to as well (--output.log)
    accept_changes: bool = False  # go on although config.yaml, the prior, the picture or the kernels have changed
    view: bool = False  # watch the run in the browser while it trains; pause and stop it there
    port: Port | None = None  # of that page on 127.0.0.1; by default 8080, or the next one that is free

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


@dataclass(frozen=True)
class Sample(Config):
    """Draw samples of the prior itself by DDIM, into one PNG."""

    prompt: Positional[str]  # what to sample
    prior: str = "toybox"  # as in `generate`; see `scoredistill priors`
    count: Annotated[int, Range(1, 1024)] = 16  # number of samples
    scale: GuidanceScale = 4.0  # guidance scale, null + scale (text - null); 4 suits Toybox, 7.5 Stable Diffusion
    steps: Iterations = 30  # evaluations of the prior for each sample
    seed: Seed = 0  # seed of the noise
    negative: str = ""  # negative prompt (replaces the empty prompt in classifier-free guidance)
    device: str = "auto"  # cpu, cuda, cuda:N, or auto
    lora: tuple[str, ...] = ()  # LoRA files FILE[:weight], fused into the network
    out: Path | None = None  # the PNG; by default runs/PROMPT-ddim-SEED.png, with a number if there is one already

    def __call__(self) -> None:
        if not self.prompt.strip():
            raise ValueError('no prompt: say what to sample, as in: scoredistill sample "a purple snowman"')
        path = self.out or unused_path(default_path(self.prompt, "ddim", self.seed).with_suffix(".png"))
        path.parent.mkdir(parents=True, exist_ok=True)
        check_output(path, "png")
        name = "toybox" if self.prior == "auto" else full_prior_name(self.prior)
        config = PriorConfig(name, resolved_device(self.device), lora=self.lora)
        prompt = Prompt(self.prompt, self.negative)
        rgb = samples(config, prompt, self.count, scale=self.scale, steps=self.steps, seed=self.seed)
        write_png(grid(rgb), path)
        print(path)


@dataclass(frozen=True)
class Render(Config):
    """Render a turntable video of a run's scene, or views from given directions."""

    folder: Positional[Path]  # of the run
    azimuths_deg: tuple[Degrees, ...] = ()  # azimuths of views for a PNG instead of a video; 0 is the front, 90 at +x
    elevation_deg: Elevation = ELEVATION_DEG  # camera elevation, degrees
    frames: Frames = 120  # frames of the video, 30 per second
    resolution: Pixels = 256  # resolution in pixels
    out: Path | None = None  # an .mp4, or with azimuths a .png; by default turntable.mp4 or views.png in the folder

    def check(self) -> None:
        """ValueError for more views than fit in a picture."""
        if len(self.azimuths_deg) > VIEWS:
            raise ValueError(f"azimuths_deg must be at most {VIEWS} angles, got {len(self.azimuths_deg)}")

    def __call__(self) -> None:
        if self.out:
            check_output(self.out, "png" if self.azimuths_deg else "mp4")
        recipe, scene = open_3d_scene(self.folder)
        background = background_color(recipe)
        if self.azimuths_deg:
            path = self.out or self.folder / "views.png"
            elevations = [self.elevation_deg] * len(self.azimuths_deg)
            frame = render_views(recipe, scene, list(self.azimuths_deg), elevations, self.resolution)
            write_png(preview(frame, background, size=self.resolution), path)
        else:
            path = self.out or self.folder / "turntable.mp4"
            frames = turntable(recipe, scene, self.frames, self.resolution, self.elevation_deg)
            write_turntable(frames, path, background=background, size=self.resolution)
        print(path)


@dataclass(frozen=True)
class Export(Config):
    """Export a mesh of a run's scene, or a file of its splats."""

    folder: Positional[Path]  # of the run
    format: str = ""  # glb, obj or ply; of splats also splat-ply and splat-glb; by default that of --out, or glb
    resolution: MeshResolution = OutputConfig.mesh_resolution  # density samples along a side
    threshold: Threshold = OutputConfig.mesh_threshold  # density at the surface; 0: from the silhouette of renders
    faces: Faces = OutputConfig.mesh_faces  # triangles, about; 0: all of them
    texture: Texels = OutputConfig.texture  # texture resolution in texels; 0: vertex colors instead
    out: Path | None = None  # by default mesh.* or splats.* in the folder

    def __call__(self) -> None:
        kind = format_of(self.out, self.format)
        path = self.out or self.folder / file_name(kind)
        if self.out:
            check_replaceable(path)
        recipe, scene = open_3d_scene(self.folder)
        mesh = {"mesh_resolution": self.resolution, "mesh_threshold": self.threshold, "mesh_faces": self.faces}
        for name, value in (mesh | {"texture": self.texture}).items():
            recipe = changed(recipe, f"output.{name}", value)
        print(f"{path}: {write(recipe, scene, path, kind)}")


@dataclass(frozen=True)
class Evaluate(Measuring):
    """Evaluate finished runs: a table of the runs, the means of each method, and sets of runs with several seeds."""

    folders: Positional[tuple[Path, ...]] = ()  # of the runs
    out: Path | None = None  # a file for all rows and columns, .json or .csv

    def __call__(self) -> None:
        if not self.folders:
            raise ValueError("name the folders of the runs to evaluate")
        if self.out:
            check_table(self.out)
        check_distinct(self.folders)
        measures = self.measures()
        found: list[Evaluated] = []
        for folder in self.folders:
            found.append(evaluated(folder, measures))
            if "judge" in found[-1].row:
                logging.getLogger(__name__).warning("%s: %s", folder, found[-1].row["judge"])
        names = (*COLUMNS, *measures.columns)
        rows = [each.row for each in found]
        print(markdown([{name: row.get(name, "") for name in names} for row in rows]))
        print(markdown(summarize(rows, also=measures.columns)))
        sets = of_sets(found, measures.sets)
        for line in self.without_value(sets):
            logging.getLogger(__name__).warning(line)
        if sets:
            print(markdown([{name: "" if value is None else value for name, value in row.items()} for row in sets]))
        if self.out:
            write_table(rows, self.out)


@dataclass(frozen=True)
class Compare(Comparison):
    """Compare many runs on one offline page (turntables in step, metrics with intervals, curves), and as a table."""

    folders: Positional[tuple[Path, ...]] = ()  # run folders, and folders that hold run folders

    def __call__(self) -> None:
        if not self.folders:
            raise ValueError("name the folders of the runs to compare, or a folder that holds them")
        with Ticker() as progress:
            gathered, page, table = compare(self.folders, self, progress)
        for path, reason in gathered.left_out:
            logging.getLogger(__name__).warning("%s is left out: %s", path, reason)
        for line in self.without_value(gathered.sets):
            logging.getLogger(__name__).warning(line)
        print(f"{page}\n{table}")


@dataclass(frozen=True)
class Study(Order):
    """Repeat a figure of the papers in 2D, on a page that says whether its claim holds; without a name, list them."""

    name: Positional[str] = ""  # of the study

    def __call__(self) -> None:
        if not self.name:
            print(listing())
            return
        with Ticker() as progress:
            finding, page = conduct(self, progress)
        print(f"{VERDICTS[finding.holds][1]} {finding.because}\n{page}")


Study.__doc__ = f"{Study.__doc__}\n\n" + listing().replace("\n", "\n\n")


@dataclass(frozen=True)
class Methods(Config):
    """List the score-distillation methods with equations, scales and costs; describe one, or cite it."""

    name: Positional[str] = ""  # of a method to describe
    preset: str = "fast"  # whose scales and costs are listed: fast, paper or low-vram
    cite: str = ""  # print the BibTeX entry of this method

    def check(self) -> None:
        """ValueError for an unknown preset, and for a method that is to be both described and cited."""
        named("preset", self.preset, PRESETS)
        if self.name and self.cite:
            raise ValueError(f"give either a method to describe, {self.name!r}, or one to cite, {self.cite!r}")

    def __call__(self) -> None:
        if self.cite:
            print(named("method", self.cite, METHODS).citation)
        else:
            print(method_page(self.name, self.preset) if self.name else methods_table(self.preset))


@dataclass(frozen=True)
class Priors:
    """List the priors that can be distilled."""

    def __call__(self) -> None:
        print(priors_help())


@dataclass(frozen=True)
class Metrics:
    """List the metrics with equations, sources, ranges, and the priors for which each means something."""

    def __call__(self) -> None:
        print(metrics_table())


@dataclass(frozen=True)
class Doctor:
    """Report what this machine can do, and why."""

    def __call__(self) -> None:
        for name, well, found in examine():
            print(f"{'ok     ' if well else 'MISSING'} {name}: {found}")


COMMANDS: dict[str, Any] = {
    "generate": Generate,
    "image": Image,
    "sample": Sample,
    "resume": Resume,
    "sweep": Sweep,
    "render": Render,
    "export": Export,
    "view": View,
    "evaluate": Evaluate,
    "compare": Compare,
    "study": Study,
    "methods": Methods,
    "priors": Priors,
    "metrics": Metrics,
    "doctor": Doctor,
}

PRINTED = (Evaluate, Methods, Priors, Metrics, Doctor)
"""Commands whose result is what they print."""


def command_named(name: str) -> Any:
    """The command of a name; ValueError with the nearest known ones."""
    if name not in COMMANDS:
        raise ValueError(f"unknown command {name!r}; {nearest(name, COMMANDS)}")
    return COMMANDS[name]
