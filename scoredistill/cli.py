"""The command line: the only file that knows flags, prints or exits (with `console` for what moves).

Exit codes: 0 done, 1 the run itself failed, 2 a bad argument, 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import DisallowNone, Fixed, Positional, Suppress

from scoredistill.artifacts import open_scene, open_volume
from scoredistill.checkpoint import write_safely
from scoredistill.console import RunFailedError, StoppedError, Ticker, drive, reason
from scoredistill.doctor import examine
from scoredistill.entries import account, overview, priors
from scoredistill.evaluate.report import markdown, summarize
from scoredistill.export.findings import VERDICTS
from scoredistill.export.images import grid, preview, write_png, write_turntable
from scoredistill.export.mesh import FACES, TEXTURE
from scoredistill.flags import one_line, said, with_settings
from scoredistill.folder import RunFolder, default_path, read_config
from scoredistill.formats import file_name, write
from scoredistill.gallery import ELEVATION_DEG, evaluate, look, samples, turntable
from scoredistill.methods.catalogue import CITATIONS, METHODS
from scoredistill.parts import background, build
from scoredistill.run import Run, resolve
from scoredistill.settings import Value, named, settings_of
from scoredistill.studies.conduct import Order, conduct, listing

DESCRIPTION = "Score distillation: what a 2-D diffusion model knows, as a 3-D model or an image."
COLUMNS = ("run", "kind_right", "color_right", "view_right", "similarity", "sharpness", "diverged", "seen_as")


@dataclass(frozen=True)
class Generate(Run):
    """Make a 3-D model from a sentence."""

    prompt: Positional[str] = ""  # what to make
    config: Path | None = None  # begin with the settings of this config.yaml; other flags replace them
    settings: Suppress[Mapping[str, Value]] = field(default_factory=dict)  # flags of their own: see `with_settings`

    def __call__(self) -> None:
        said = {name: value for name in settings_of(self.method) if (value := getattr(self, name)) is not None}
        run = Run(**{each.name: getattr(self, each.name) for each in fields(Run)})
        run = resolve(replace(run, settings=said))
        parts = build(run)
        drive(RunFolder.create(run), parts)


@dataclass(frozen=True)
class Image(Generate):
    """Make images from a sentence by 2-D distillation, several at once."""

    scene: Fixed[str] = "image"


@dataclass(frozen=True)
class Resume:
    """Go on with a run exactly where it stopped."""

    folder: Positional[Path]  # of the run

    def __call__(self) -> None:
        folder = RunFolder.open(self.folder)
        drive(folder, build(resolve(folder.run)))


@dataclass(frozen=True)
class Sample:
    """Draw samples of the prior itself by DDIM, into one PNG."""

    prompt: Positional[str]  # what to sample
    prior: str = "toybox"  # as in `generate`; see `scoredistill priors`
    count: int = 16  # samples
    scale: float = 4.0  # guidance, null + scale (text - null); 4 suits Toybox, 7.5 Stable Diffusion
    steps: int = 30  # queries of the prior for each sample
    seed: int = 0  # of the noise
    negative: str = ""  # what the null branch of the guidance is told instead of nothing
    device: str = "auto"  # cpu, cuda or auto
    out: Path | None = None  # the PNG; by default runs/PROMPT-ddim-SEED.png

    def __call__(self) -> None:
        run = Run(self.prompt, prior=self.prior, seed=self.seed, device=self.device, negative=self.negative)
        rgb = samples(resolve(run), self.count, scale=self.scale, steps=self.steps)
        path = self.out or default_path(self.prompt, "ddim", self.seed).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(grid(rgb), path)
        print(path)


@dataclass(frozen=True)
class Render:
    """Film a run's scene all round, or look at it from given directions."""

    folder: Positional[Path]  # of the run
    azimuths_deg: tuple[float, ...] = ()  # views for a PNG instead of a film; 0 is the front, 90 at +x
    elevation_deg: float = ELEVATION_DEG  # above the horizon
    frames: int = 120  # of the film, at 30 a second
    size: int = 256  # pixels a side
    out: Path | None = None  # by default turntable.mp4 or views.png in the folder

    def __call__(self) -> None:
        run, scene = open_volume(self.folder)
        if self.azimuths_deg:
            path = self.out or self.folder / "views.png"
            elevations = [self.elevation_deg] * len(self.azimuths_deg)
            frame = look(run, scene, list(self.azimuths_deg), elevations, self.size)
            write_png(preview(frame, background(run), size=self.size), path)
        else:
            path = self.out or self.folder / "turntable.mp4"
            frames = turntable(run, scene, self.frames, self.size, self.elevation_deg)
            write_turntable(frames, path, background=background(run), size=self.size)
        print(path)


@dataclass(frozen=True)
class Export:
    """Make a mesh of a run's scene, or a file of its splats."""

    folder: Positional[Path]  # of the run
    format: str = "glb"  # glb, obj or ply; of splats also splat-ply and splat-glb
    resolution: int = 128  # samples of the density along a side
    threshold: float | None = None  # density at the surface; by default where renders show it
    faces: int = FACES  # about so many triangles; 0: all there are
    texture: int = TEXTURE  # texels a side; 0: colors at the vertices instead
    out: Path | None = None  # by default mesh.* or splats.* in the folder

    def __call__(self) -> None:
        path = self.out or self.folder / file_name(self.format)
        run, scene = open_volume(self.folder)
        mesh = {name: getattr(self, name) for name in ("resolution", "threshold", "faces", "texture")}
        print(f"{path}: {write(run, scene, path, self.format, **mesh)}")


@dataclass(frozen=True)
class Evaluate:
    """Let the judge look at finished runs: a table of the runs, and the means of each method."""

    folders: Positional[tuple[Path, ...]]  # of the runs
    out: Path | None = None  # a JSON file for all rows

    def __call__(self) -> None:
        if not self.folders:
            raise ValueError("name the folders of the runs to evaluate")
        rows = []
        for folder in self.folders:
            run, scene = open_scene(folder)
            rows.append({"run": folder.name, "method": run.method, "seed": run.seed, **evaluate(run, scene)})
            if "judge" in rows[-1]:
                logging.getLogger(__name__).warning("%s: %s", folder, rows[-1]["judge"])
        print(markdown([{name: row.get(name, "") for name in COLUMNS} for row in rows]))
        print(markdown(summarize(rows)))
        if self.out:
            write_safely(self.out, json.dumps(rows, indent=2).encode())


@dataclass(frozen=True)
class Study(Order):
    """Repeat a figure of the papers in 2-D, on a page that says whether it holds; without a name, list them."""

    name: Positional[str] = ""  # of the study

    def __call__(self) -> None:
        if not self.name:
            print(listing())
            return
        with Ticker() as told:
            finding, page = conduct(self, told)
        print(f"{VERDICTS[finding.holds][1]} {finding.because}\n{page}")


Study.__doc__ = f"{Study.__doc__}\n\n" + listing().replace("\n", "\n\n")


@dataclass(frozen=True)
class Methods:
    """List the score-distillation methods with equations, scales and costs; tell all about one, or cite it."""

    name: Positional[str] = ""  # of a method to tell all about
    preset: str = "fast"  # whose scales and costs are listed: fast, paper or low-vram
    cite: str | None = None  # print the BibTeX entry of this method

    def __call__(self) -> None:
        if self.cite is not None:
            print(named("method", self.cite, CITATIONS))
        else:
            print(account(self.name, self.preset) if self.name else overview(self.preset))


@dataclass(frozen=True)
class Priors:
    """List the priors that can be distilled."""

    def __call__(self) -> None:
        print(priors())


@dataclass(frozen=True)
class Doctor:
    """Say what this machine can do, and why."""

    def __call__(self) -> None:
        for name, well, found in examine():
            print(f"{'ok     ' if well else 'MISSING'} {name}: {found}")


COMMANDS: dict[str, Any] = {
    "generate": Generate,
    "image": Image,
    "sample": Sample,
    "resume": Resume,
    "render": Render,
    "export": Export,
    "evaluate": Evaluate,
    "study": Study,
    "methods": Methods,
    "priors": Priors,
    "doctor": Doctor,
}


def parse(arguments: Sequence[str]) -> Any:
    """The command that the arguments name, with its flags; ValueError in one line for what cannot be read."""
    if arguments and not arguments[0].startswith("-"):
        named("command", arguments[0], COMMANDS)
    config = said(arguments, "--config")
    default: dict[str, Any] = {} if config is None else asdict(read_config(Path(config)))
    method = said(arguments, "--method") or default.get("method", Run.method)
    named("method", method, METHODS)
    commands = COMMANDS | {name: with_settings(COMMANDS[name], method) for name in ("generate", "image")}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            if config is None or arguments[0] not in ("generate", "image"):
                return tyro.extras.subcommand_cli_from_dict(
                    commands, prog="scoredistill", description=DESCRIPTION, args=arguments, config=(DisallowNone,)
                )
            kind = commands[arguments[0]]
            own = default.pop("settings")
            told = default | (own if default["method"] == method else {}) | {"config": Path(config)}
            begin = kind(**told | ({"scene": "image"} if issubclass(kind, Image) else {}))
            return tyro.cli(kind, default=begin, args=arguments[1:], config=(DisallowNone,))
    except SystemExit as error:
        if not error.code:
            raise
        raise ValueError(one_line(complaint.getvalue())) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an error is one line on stderr and an exit code (SCOREDISTILL_DEBUG=1 shows where)."""
    logging.basicConfig(format="scoredistill: warning: %(message)s", level=logging.WARNING)
    try:
        parse(sys.argv[1:] if arguments is None else arguments)()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("SCOREDISTILL_DEBUG"):
            raise
        message, code = verdict(error)
        print("scoredistill: error: " + " ".join(message.split()), file=sys.stderr)
        return code
    return 0


def verdict(error: BaseException) -> tuple[str, int]:
    """What an error means to a person, and to a script."""
    match error:
        case KeyboardInterrupt():
            return "interrupted", 130
        case StoppedError():
            return str(error), error.code
        case RunFailedError() | FloatingPointError():
            return str(error), 1
        case ValueError() | OSError():
            full = getattr(error, "errno", None) == errno.ENOSPC
            return reason(error), 1 if full else 2
    return f"{type(error).__name__}: {error}; this is a bug (SCOREDISTILL_DEBUG=1 shows where)", 1


if __name__ == "__main__":
    sys.exit(main())
