"""A run: all its flags as one frozen dataclass, and how what they do not say is filled in.

Run --resolve--> Run without gaps; `parts.build` makes its parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch

from scoredistill import settings
from scoredistill.methods.catalogue import METHODS
from scoredistill.presets import PRESETS, Preset
from scoredistill.presets.methods import OFFICIAL
from scoredistill.presets.published import NEGATIVE, outdoors, view_text
from scoredistill.presets.tasks import JOINT, PHOTO, joint, photographed
from scoredistill.priors.prompt import TOLD
from scoredistill.scenery import REGULARIZERS, SCENES
from scoredistill.settings import Value, named
from scoredistill.sources import check_name, full_name, is_published
from scoredistill.toybox.render import BACKGROUND


@dataclass(frozen=True)
class Run:
    """All that a run can be told; None leaves the choice to the preset."""

    prompt: str = ""  # what to make
    method: str = "sdi"  # a score-distillation method; see `scoredistill methods`
    scene: str = "nerf"  # what is optimized: nerf, splats or image
    prior: str = "auto"  # auto (Toybox's), toybox, toybox-mv, weights, sd ..., a folder or org/name[@revision]
    preset: str = "fast"  # fast, paper or low-vram
    seed: int = 0  # of everything that is random
    asset: int | None = None  # seed of the noise that the asset keeps for good (DSD); by default `seed`
    device: str = "auto"  # cpu, cuda, or auto: cuda where there is one
    compile: bool = False  # compile the prior's network: faster steps on a GPU, after a slow first one
    out: Path | None = None  # the run's folder; by default runs/PROMPT-METHOD-SEED
    negative: str | None = None  # what the null branch of the guidance is told; by default what the method's paper says
    background: str | None = None  # what the scene stands before: toybox, white, gray, black or learned
    image: str | None = None  # a picture of the object to begin from, for priors that make other views of it
    elevation_deg: float = 5.0  # from where the picture was taken: above the horizon
    azimuth_deg: float = 0.0  # and around: 0 is the front, 90 at +x
    view_text: str | None = None  # how published models are told the view: words, interpolated or perp-neg
    steps: int | None = None  # optimization steps
    batch: int | None = None  # views a step
    count: int | None = None  # images side by side, each from a start of its own; or splats at the beginning
    start: str | None = None  # what splats begin as: ball, a mesh file, or the folder of a run with a mesh
    size: int | None = None  # pixels of a side of a render
    save_every: int | None = None  # steps between checkpoints
    lr: float | None = None  # learning rate of pixels (image only)
    lr_grid: float | None = None  # learning rate of the hash grid
    lr_mlp: float | None = None  # learning rate of the networks
    lr_position: float | None = None  # learning rate of the splats' positions
    lr_color: float | None = None  # learning rate of the splats' colors
    lr_opacity: float | None = None  # learning rate of the splats' opacities
    lr_spread: float | None = None  # learning rate of the logarithms of the splats' standard deviations
    lr_rotation: float | None = None  # learning rate of the splats' rotations
    orient: float | None = None  # factor on the preset's weight of the orientation loss
    sparsity: float | None = None  # factor on the preset's weight of the sparsity loss
    opaque: float | None = None  # factor on the preset's weight of the opaqueness loss
    z_variance: float | None = None  # factor on the preset's weight of the z-variance loss
    convexity: float | None = None  # factor on the preset's weight of the convexity loss
    variation: float | None = None  # factor on the preset's weight of the total variation (splats only)
    spread: float | None = None  # factor on the preset's weight of the splats' mean standard deviation
    needles: float | None = None  # factor on the preset's weight of the loss on long thin splats
    settings: Mapping[str, Value] = field(default_factory=dict)  # of the method, by the names of its arguments


DEVICES = ("auto", "cpu", "cuda")
GRAY = (0.5, 0.5, 0.5)
BACKGROUNDS = {"toybox": BACKGROUND, "white": (1.0, 1.0, 1.0), "gray": GRAY, "black": (0.0, 0.0, 0.0), "learned": GRAY}
"""By their names; what is learned is for training renders (`scenes.environment`), all others are before gray."""


def resolve(run: Run) -> Run:
    """The same run without gaps: what is None and applies gets the preset's value.

    ValueError for unknown names, values of a wrong sign, and settings that the method or scene lacks.
    """
    named("method", run.method, METHODS)
    named("scene", run.scene, SCENES)
    named("preset", run.preset, PRESETS)
    run = dataclasses.replace(run, prior=full_name(run.prior) if run.prior != "auto" else embedded_prior(run))
    preset = preset_of(run)
    scene = preset.scene | dict.fromkeys(REGULARIZERS[run.scene], 1.0)
    free = ("out", "asset", "image", "view_text", "negative", "background")
    choices = [field.name for field in fields(Run) if field.default is None and field.name not in free]
    said = {name: getattr(run, name) for name in choices if getattr(run, name) is not None}
    if missing := [name for name in said if name not in scene]:
        raise ValueError(f"scene {run.scene!r} has no setting {', '.join(missing)}; it has: {', '.join(scene)}")
    if said.get("start", "ball") != "ball":
        said["start"] = str(Path(said["start"]).absolute())
    device = ("cuda" if torch.cuda.is_available() else "cpu") if run.device == "auto" else run.device
    image = str(Path(run.image).absolute()) if run.image else None
    resolved = dataclasses.replace(
        run,
        prompt=run.prompt or (Path(image).stem if image else ""),
        image=image,
        device=device,
        asset=run.seed if run.asset is None else run.asset,
        view_text=run.view_text or (view_text(run.method, run.prior) if is_published(run.prior) else None),
        negative=negative(run),
        background=background_name(run),
        settings=settings.complete(run.method, method_settings(run, preset), run.settings),
        **scene | said,
    )
    _check_values(resolved)
    return resolved


def embedded_prior(run: Run) -> str:
    """Toybox's own: for a picture that of its other views, for solids under `fast` that of four views at once.

    One view at a time a solid gets a second front wherever words do not say which side is seen.
    """
    if run.image:
        return "toybox-pose"
    return "toybox-mv" if run.preset == "fast" and run.scene != "image" else "toybox"


def method_settings(run: Run, preset: Preset) -> dict[str, Value]:
    """What the preset says of the method; of published models the official settings, reduced as the preset does."""
    if not is_published(run.prior):
        return preset.method
    reduction = {name: value for name, value in preset.method.items() if name == "reduction"}
    return OFFICIAL.get(run.method, {}) | (PHOTO.get(run.method, {}) if run.image else {}) | reduction


def preset_of(run: Run) -> Preset:
    """The preset that the run names, for its method and scene, and for what its prior denoises or is shown."""
    preset = named("preset", run.preset, PRESETS)(run.method, run.scene)
    preset = photographed(preset, run.preset) if run.image else preset
    preset = outdoors(preset, run.method) if background_name(run) == "learned" else preset
    return joint(preset, run.preset) if run.prior in JOINT else preset


def background_name(run: Run) -> str:
    """By default what the prior was trained on: Toybox's own, white around pictures; else gray, learned by `paper`."""
    if run.background or not is_published(run.prior):
        return run.background or "toybox"
    if run.image:
        return "white"
    return "gray" if run.preset == "fast" or run.scene != "nerf" else "learned"


def negative(run: Run) -> str:
    """The negative prompt: the run's, or of published models the method's own."""
    if run.negative is None and is_published(run.prior):
        return NEGATIVE.get(run.method, "")
    return run.negative or ""


def _check_values(run: Run) -> None:
    if not run.prompt.strip():  # a run from a picture is named after it
        raise ValueError('no prompt: say what to make, as in: scoredistill generate "a purple snowman"')
    for name in ("steps", "batch", "count", "size", "save_every"):
        value = getattr(run, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    named("device", run.device, dict.fromkeys(DEVICES))
    named("background", run.background or "toybox", BACKGROUNDS)
    if run.background == "learned" and run.scene != "nerf":
        raise ValueError(f"scene {run.scene!r} learns no background: take --scene nerf, or a plain --background")
    if run.view_text is not None:
        named("view text", run.view_text, dict.fromkeys(TOLD))
        if not is_published(run.prior):
            raise ValueError(f"prior {run.prior!r} is told the view in words of its own: leave out --view-text")
    check_name(run.prior)
    if run.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device here; leave out --device, or see: scoredistill doctor")
