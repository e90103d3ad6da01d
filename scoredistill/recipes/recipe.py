"""The recipe: one frozen tree that says everything about a run. A preset returns it complete; flags replace fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from scoredistill.config import (
    Batch,
    Config,
    Count,
    Degrees,
    Elevation,
    Fraction,
    HalfAngle,
    Natural,
    Pixels,
    Range,
    Seed,
    ZeroOr,
    checked,
    hints,
    nearest,
)
from scoredistill.methods.method import MethodConfig
from scoredistill.methods.sdi import SDI
from scoredistill.priors.diffusers.view_prompting import ViewPrompting
from scoredistill.scenes.nerf import NerfConfig
from scoredistill.scenes.photo import PhotoLoss
from scoredistill.toybox.render import BACKGROUND
from scoredistill.views import OrbitConfig

Frames = Annotated[int, Range(1, 3600)]
MeshResolution = Annotated[int, Range(8, 1024)]
TurntablePixels = Annotated[int, ZeroOr(8, 4096)]
Threshold = Annotated[float, ZeroOr(1e-3, 1e4)]
Faces = Annotated[int, ZeroOr(4, 10_000_000)]
Texels = Annotated[int, ZeroOr(16, 8192)]
Tracker = Literal["tensorboard", "wandb", "trackio"]

GRAY = (0.5, 0.5, 0.5)
Background = Literal["toybox", "white", "gray", "black"]
BACKGROUNDS: dict[Background, tuple[float, float, float]] = {
    "toybox": BACKGROUND,
    "white": (1.0, 1.0, 1.0),
    "gray": GRAY,
    "black": (0.0, 0.0, 0.0),
}
"""Background colors by name; "toybox" is the one that the embedded priors were trained on."""


def cuda_index(device: str) -> int | None:
    """N of cuda:N, 0 of cuda, None of cpu; ValueError for anything else."""
    found = re.fullmatch(r"(cpu)|cuda(?::([0-9]{1,3}))?", device)
    if found is None:
        raise ValueError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:N")
    return None if found[1] else int(found[2] or 0)


@dataclass(frozen=True)
class PictureConfig(Config):
    """An input picture of the object, for priors that generate other views of it."""

    file: str = ""  # input picture of the object; empty: text to 3D
    elevation_deg: Elevation = 5.0  # camera elevation of the input picture, degrees
    azimuth_deg: Degrees = 0.0  # camera azimuth of the input picture, degrees: 0 is the front, 90 at +x
    loss: PhotoLoss = field(default_factory=PhotoLoss)  # weights of the losses on the input view


@dataclass(frozen=True)
class PromptConfig(Config):
    """What to generate."""

    text: str = ""  # the prompt
    negative: str = ""  # negative prompt (replaces the empty prompt in classifier-free guidance)
    picture: PictureConfig = field(default_factory=PictureConfig)


@dataclass(frozen=True)
class PriorConfig(Config):
    """The 2D diffusion model that is distilled."""

    name: str = "toybox-mv"  # alias, folder, hub id org/name[@revision], or FILE.py:NAME; see `scoredistill priors`
    device: str = "cpu"  # cpu, cuda or cuda:N, for the prior and the scene
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # precision of the network; auto: the fastest
    view_prompting: ViewPrompting = "words"  # view-dependent prompting: words, prefix, interpolated, perp-neg or none
    front_deg: HalfAngle = 45.0  # half-angle of the azimuths prompted as front view
    back_deg: HalfAngle = 45.0  # half-angle of the azimuths prompted as back view
    overhead_deg: Annotated[float, Range(-90, 90)] = 60.0  # elevation above which the view is prompted as overhead
    lora: tuple[str, ...] = ()  # LoRA files FILE[:weight] to fuse into the network
    compile: bool = False  # compile the network: faster steps on a GPU after a slow first one

    def check(self) -> None:
        cuda_index(self.device)
        if self.front_deg + self.back_deg > 180:
            raise ValueError(
                f"front_deg and back_deg must not exceed 180 together, got {self.front_deg:g} and {self.back_deg:g}"
            )


@dataclass(frozen=True)
class TrainingConfig(Config):
    """The optimization loop."""

    steps: Count = 300  # optimization steps, each one evaluation of the method
    updates: Count = 1  # scene updates per gradient of the method, on new renders from the same cameras
    batch: Batch = 4  # camera views per optimization step (3D scenes)
    resolution: Pixels = 64  # render resolution in pixels
    background: Background = "toybox"  # background color
    seed: Seed = 0  # seed of all random numbers
    asset_seed: Seed = 0  # seed of the fixed per-asset noise (DSD)
    save_every: Count = 25  # optimization steps between checkpoints
    early_share: Fraction = 0.0  # first share of the run, with early_batch and early_resolution
    early_batch: Batch = 1  # camera views per optimization step in that share, if more than `batch`
    early_resolution: Pixels = 4096  # render resolution in that share, if smaller than `resolution`

    def batch_at(self, progress: float, batch: int) -> int:
        """Camera views of a step at `progress` in [0, 1) of a run whose later steps have `batch`."""
        return max(self.early_batch, batch) if progress < self.early_share else batch

    def resolution_at(self, progress: float) -> int:
        """Render resolution of a step at `progress` in [0, 1) of the run, in pixels."""
        return min(self.early_resolution, self.resolution) if progress < self.early_share else self.resolution


@dataclass(frozen=True)
class OutputConfig(Config):
    """The output files of a run."""

    turntable_frames: Frames = 60  # frames of the turntable video, 30 per second
    turntable_resolution: TurntablePixels = 128  # video resolution; 0: twice that of training, clamped to 128..256
    mesh_resolution: MeshResolution = 128  # density samples along each axis for mesh extraction
    mesh_threshold: Threshold = 0.0  # density at the surface; 0: chosen from the silhouette of renders
    mesh_faces: Faces = 5_000  # approximate number of triangles of the mesh; 0: all of them
    texture: Texels = 512  # texture resolution in texels; 0: vertex colors instead
    preview_every: Natural = 100  # optimization steps between previews (preview.png, index.html); 0: none
    log: tuple[Tracker, ...] = ()  # experiment trackers to log to, too: tensorboard, wandb, trackio

    def check(self) -> None:
        if len(set(self.log)) < len(self.log):
            raise ValueError(f"log must name each tracker once, got {', '.join(self.log)}")


@dataclass(frozen=True)
class Recipe(Config):
    """All settings of a run."""

    prompt: PromptConfig = field(default_factory=PromptConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    scene: Config = field(default_factory=NerfConfig)
    method: MethodConfig = field(default_factory=SDI)
    views: OrbitConfig = field(default_factory=OrbitConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    @property
    def flat(self) -> bool:
        """Whether the scene is an image, without cameras."""
        return bool(getattr(self.scene, "flat", False))


def changed(config: Any, path: str, value: Any) -> Any:
    """A copy of a configuration with the field at a dotted path replaced, as in changed(recipe, "training.steps", 9).

    ValueError for a path that does not exist, and for a value that the field does not allow.
    """
    name, _, rest = path.partition(".")
    known = hints(type(config))
    if name not in known:
        raise ValueError(f"{type(config).__name__} has no setting {name!r}; {nearest(name, known)}")
    part = getattr(config, name)
    if rest and not isinstance(part, Config):
        raise ValueError(f"{name} of {type(config).__name__} is a single setting, so it has no {rest!r}")
    new = changed(part, rest, value) if rest else checked(name, known[name], value)
    return replace(config, **{name: new})


def different(recipe: Config, other: Config, path: str = "") -> list[str]:
    """The dotted paths of all settings in which two configurations differ."""
    if type(recipe) is not type(other):
        return [path]
    found = []
    for name in hints(type(recipe)):
        mine, theirs = getattr(recipe, name), getattr(other, name)
        if isinstance(mine, Config):
            found += different(mine, theirs, f"{path}.{name}".lstrip("."))
        elif mine != theirs:
            found.append(f"{path}.{name}".lstrip("."))
    return found
