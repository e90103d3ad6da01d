"""A run: all its flags as one frozen dataclass, and how names become parts. The only file that names classes.

Run --resolve--> Run without gaps --build--> Parts --optimize--> steps
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoredistill import settings
from scoredistill.camera import Cameras
from scoredistill.contracts import Method, Prior, Prompt, Step, Views
from scoredistill.methods.catalogue import METHODS
from scoredistill.optimize import optimize
from scoredistill.presets import PRESETS, Preset
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.scenes.image import Image
from scoredistill.scenes.nerf import NeRF, NerfSettings
from scoredistill.scenes.regularizers import Ramp
from scoredistill.settings import Value, named
from scoredistill.toybox.render import BACKGROUND
from scoredistill.views import no_cameras

WEIGHT_FILE = ".safetensors"
REGULARIZERS = ("orient", "sparsity", "opaque", "z_variance", "convexity")


@dataclass(frozen=True)
class Run:
    """All that a run can be told; None leaves the choice to the preset."""

    prompt: str = ""  # what to make
    method: str = "sdi"  # a score-distillation method; see `scoredistill methods`
    scene: str = "nerf"  # what is optimized: nerf or image
    prior: str = "toybox"  # toybox, or the path of Toybox weights (.safetensors)
    preset: str = "fast"  # fast or paper
    seed: int = 0  # of everything that is random
    asset: int | None = None  # seed of the noise that the asset keeps for good (DSD); by default `seed`
    device: str = "auto"  # cpu, cuda, or auto: cuda where there is one
    out: Path | None = None  # the run's folder; by default runs/PROMPT-METHOD-SEED
    negative: str = ""  # what the null branch of the guidance is told instead of nothing
    steps: int | None = None  # optimization steps
    batch: int | None = None  # views a step
    count: int | None = None  # images side by side, each from a start of its own (image only)
    size: int | None = None  # pixels of a side of a render
    save_every: int | None = None  # steps between checkpoints
    lr: float | None = None  # learning rate of pixels (image only)
    lr_grid: float | None = None  # learning rate of the hash grid
    lr_mlp: float | None = None  # learning rate of the networks
    orient: float | None = None  # factor on the preset's weight of the orientation loss
    sparsity: float | None = None  # factor on the preset's weight of the sparsity loss
    opaque: float | None = None  # factor on the preset's weight of the opaqueness loss
    z_variance: float | None = None  # factor on the preset's weight of the z-variance loss
    convexity: float | None = None  # factor on the preset's weight of the convexity loss
    settings: Mapping[str, Value] = field(default_factory=dict)  # of the method, by the names of its arguments


@dataclass
class Parts:
    """What a resolved run is made of."""

    scene: NeRF | Image
    prior: Prior
    method: Method
    views: Views
    prompt: Prompt
    background: Tensor
    steps: int
    batch: int
    seed: int
    asset: int

    def optimize(self, resume: dict[str, Any] | None = None) -> Iterator[Step]:
        """The loop over these parts, from the start or from a `Step.checkpoint()`."""
        return optimize(
            self.scene,
            self.prior,
            self.method,
            self.views,
            self.prompt,
            steps=self.steps,
            batch=self.batch,
            background=self.background,
            seed=self.seed,
            asset=self.asset,
            resume=resume,
        )


PRIORS: dict[str, Callable[..., Prior]] = {"toybox": ToyboxPrior.load}
SCENES: dict[str, Callable[[Run], NeRF | Image]] = {
    "nerf": lambda run: NeRF(nerf_settings(run), scene_rng(run.seed)),
    "image": lambda run: Image(image_start(run), lr=run.lr),  # type: ignore[arg-type] (resolved)
}
DEVICES = ("auto", "cpu", "cuda")


def resolve(run: Run) -> Run:
    """The same run without gaps: what is None and applies gets the preset's value.

    ValueError for unknown names, values of a wrong sign, and settings that the method or scene lacks.
    """
    named("method", run.method, METHODS)
    named("scene", run.scene, SCENES)
    preset = preset_of(run)
    scene = preset.scene | (dict.fromkeys(REGULARIZERS, 1.0) if run.scene == "nerf" else {})
    choices = [field.name for field in fields(Run) if field.default is None and field.name not in ("out", "asset")]
    said = {name: getattr(run, name) for name in choices if getattr(run, name) is not None}
    if missing := [name for name in said if name not in scene]:
        raise ValueError(f"scene {run.scene!r} has no setting {', '.join(missing)}; it has: {', '.join(scene)}")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if run.device == "auto" else run.device
    resolved = dataclasses.replace(
        run,
        device=device,
        prior=str(Path(run.prior).absolute()) if run.prior.endswith(WEIGHT_FILE) else run.prior,
        asset=run.seed if run.asset is None else run.asset,
        settings=settings.complete(run.method, preset.method, run.settings),
        **scene | said,
    )
    _check_values(resolved)
    return resolved


def preset_of(run: Run) -> Preset:
    """The preset that the run names, for its method and scene."""
    return named("preset", run.preset, PRESETS)(run.method, run.scene)


def build(run: Run) -> Parts:
    """The parts of a resolved run; ValueError for a prompt or weights that the prior cannot read."""
    prompt = Prompt(run.prompt, run.negative)
    prior = build_prior(run)
    prior.conditions(prompt, None, 1)  # an unknown word is an error now, not after a minute
    return Parts(
        scene=build_scene(run),
        prior=prior,
        method=build_method(run, prior),
        views=build_views(run),
        prompt=prompt,
        background=background(run),
        steps=run.steps or 0,
        batch=run.batch or 1,
        seed=run.seed,
        asset=run.asset or 0,
    )


def build_prior(run: Run) -> Prior:
    """The prior by its name, or Toybox weights by their path."""
    if run.prior.endswith(WEIGHT_FILE):
        return ToyboxPrior.load(Path(run.prior), run.device)
    return named("prior", run.prior, PRIORS)(device=run.device)


def build_scene(run: Run) -> NeRF | Image:
    """The scene as it is before the first step."""
    return SCENES[run.scene](run).to(run.device)


def build_method(run: Run, prior: Prior) -> Method:
    """The method with the run's settings, and where it trains a second score, the prior's own learner."""
    known = settings.arguments(run.settings)
    if "learner_rank" in run.settings:
        begin = getattr(prior, "learner", None)
        if begin is None:
            raise ValueError(f"method {run.method!r} trains a learner, and prior {run.prior!r} has none; see: methods")
        known["learner"] = begin(
            rank=run.settings["learner_rank"], lr=run.settings["learner_lr"], seed=1_000_003 * run.seed + 1_000_001
        )
    return METHODS[run.method](**known)


def build_views(run: Run) -> Views:
    """The distribution of cameras, on the run's device; none for a flat image."""
    if run.scene == "image":
        return no_cameras
    views = dataclasses.replace(preset_of(run).views, size=run.size)
    return lambda progress, batch, rng: on_device(views(progress, batch, rng), run.device)


def on_device(cameras: Cameras, device: str) -> Cameras:
    """The same cameras where rays can be cast."""
    return dataclasses.replace(cameras, c2w=cameras.c2w.to(device), fov=cameras.fov.to(device))


def background(run: Run) -> Tensor:
    """The plain color that scenes are composited over: the one that the prior was trained on."""
    return torch.tensor(BACKGROUND, device=run.device)


def nerf_settings(run: Run) -> NerfSettings:
    """The preset's radiance field with the run's learning rates and factors on its losses."""
    nerf = preset_of(run).nerf
    scaled = {name: _scaled(getattr(nerf.regularizers, name), getattr(run, name)) for name in REGULARIZERS}
    losses = dataclasses.replace(nerf.regularizers, **scaled)
    return dataclasses.replace(nerf, lr_grid=run.lr_grid, lr_mlp=run.lr_mlp, regularizers=losses)


def image_start(run: Run) -> Tensor:
    """`count` images of gray noise [B 3 size size], the start of a 2-D distillation."""
    assert run.count is not None
    assert run.size is not None
    return 0.5 + 0.2 * torch.randn(run.count, 3, run.size, run.size, generator=scene_rng(run.seed))


def scene_rng(seed: int) -> torch.Generator:
    """The dice of a scene's initialization, apart from those of the loop (`optimize.Dice`)."""
    return torch.Generator().manual_seed(1_000_003 * seed + 1_000_002)


def _scaled(ramp: Ramp, factor: float) -> Ramp:
    return dataclasses.replace(ramp, start=factor * ramp.start, end=factor * ramp.end)


def _check_values(run: Run) -> None:
    if not run.prompt.strip():
        raise ValueError('no prompt: say what to make, as in: scoredistill generate "a purple snowman"')
    for name in ("steps", "batch", "count", "size", "save_every"):
        value = getattr(run, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    named("device", run.device, dict.fromkeys(DEVICES))
    if not run.prior.endswith(WEIGHT_FILE):
        named("prior", run.prior, PRIORS)
    if run.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device here; leave out --device, or see: scoredistill doctor")
