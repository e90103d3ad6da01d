"""The nouns of the package: what a prior, a scene, a method and a step are to each other.

B batch of views   C h w channels and size in the prior's own space   H W pixels
x, x_t  images in the prior's space (pixels or latents); rgb in [0, 1]; t diffusion time [B] in [0, 1]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.schedule import NoiseSchedule
from scoredistill.views import OrbitConfig

Condition = Any
"""One conditioning of B views; opaque to everyone but the prior that made it."""


@dataclass(frozen=True)
class Photo:
    """A picture of one object, cut out of its background, and its camera; `rgb` is premultiplied by opacity."""

    rgb: Float[Tensor, "3 h w"]
    opacity: Float[Tensor, "1 h w"]
    camera: Cameras  # one camera, at the size of the renders that are compared with the photo

    def over(self, background: Float[Tensor, "3"]) -> Float[Tensor, "3 h w"]:
        """The object composited over a plain background color."""
        return self.rgb + (1 - self.opacity) * background.to(self.rgb)[:, None, None]


@dataclass(frozen=True)
class Prompt:
    """One text, or one for each image of a batch; the negative prompt; and an input picture where there is one."""

    text: str | tuple[str, ...]
    negative: str = ""
    photo: Photo | None = None

    def texts(self, count: int) -> list[str]:
        """The text of each of `count` images; ValueError where there are other than one or `count` texts."""
        texts = [self.text] * count if isinstance(self.text, str) else list(self.text)
        if len(texts) != count:
            raise ValueError(f"a prompt of {len(texts)} texts for {count} images: give one text, or one for each image")
        return texts


@dataclass(frozen=True)
class Conditions:
    """The conditioning of B views.

    `null` is the unconditional branch of classifier-free guidance: the negative prompt, or where there is none
    `empty`, the empty prompt; both are None where guidance is distilled into the prior. `plain` is the text without
    view words. `perpendicular` holds (negative view condition, weights [B]) pairs for Perp-Neg (Armandpour et al.
    2023). `keys` identify the text of each row: equal keys mean equal conditions, but for the poses of views that are
    denoised jointly; None where that is never the case.
    """

    text: Condition
    null: Condition
    empty: Condition
    plain: Condition
    perpendicular: tuple[tuple[Condition, Float[Tensor, "B"]], ...] = ()
    keys: tuple[str, ...] | None = None

    def map(self, change: Callable[[Condition], Condition]) -> Conditions:
        """`change` applied to every condition; one that occurs twice stays one object, so it is computed once."""
        known: dict[int, Condition] = {id(None): None}

        def once(condition: Condition) -> Condition:
            if id(condition) not in known:
                known[id(condition)] = change(condition)
            return known[id(condition)]

        changed = {name: once(getattr(self, name)) for name in ("text", "null", "empty", "plain")}
        views = tuple((once(view), weight) for view, weight in self.perpendicular)
        return replace(self, **changed, perpendicular=views)


@dataclass(frozen=True)
class Needs:
    """The requirements of a prior, known when it is found by alias, hub id or folder, before its weights are read.

    Presets depend on a prior only through its requirements.
    """

    views: int = 1  # images denoised jointly, their cameras evenly around the object at one elevation
    picture: bool = False  # conditioned on a picture of the object instead of a text
    picture_fill: float | None = None  # share of the picture's side that the object spans; None: as it is
    published: bool = False  # on Stable Diffusion's times: the methods' official settings hold as they stand
    view_prompting: bool = False  # the view can be prompted by words, interpolated embeddings or Perp-Neg
    orbit: OrbitConfig | None = None  # the cameras of the prior's own paper, where it was trained on cameras


@runtime_checkable
class Prior(Protocol):
    """A frozen diffusion model as every method sees it: a noise schedule and a noise prediction."""

    schedule: NoiseSchedule
    views: int  # images denoised jointly: 1, or 4 for a multi-view prior

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B C h w"]:
        """Pixels to the prior's space, differentiable; a random encoder samples with `rng`, else gives the mean."""
        ...

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """The prior's space back to pixels."""
        ...

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """Conditions for `count` views; with cameras the text has view words, without it is the plain prompt."""
        ...

    def eps(
        self, x_t: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], *conditions: Condition
    ) -> tuple[Float[Tensor, "B C h w"], ...]:
        """Noise predictions eps(x_t, t, y), one for each condition, in one batched call; differentiable in x_t."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A second score, trained on the renders while the scene is optimized (VSD, ESD)."""

    def eps(
        self, query: Query, x_t: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], *, camera: bool
    ) -> Float[Tensor, "B C h w"]:
        """The learner's noise prediction for the query's plain text, with or without its cameras; without gradient."""
        ...

    def loss(self, query: Query, x: Float[Tensor, "B C h w"]) -> Float[Tensor, ""]:
        """The learner's own denoising loss on the current renders, at times and noise of its own."""
        ...

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the learner's optimizer."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


@dataclass
class Frame:
    """A rendered batch of views, channels first.

    `depth` is the expected distance along the ray; `normal` is the expected unit normal in world coordinates, times
    opacity. `ray_losses` are per-ray quantities [B] that only a regularizer reads.
    """

    rgb: Float[Tensor, "B 3 H W"]
    opacity: Float[Tensor, "B 1 H W"]
    depth: Float[Tensor, "B 1 H W"]
    normal: Float[Tensor, "B 3 H W"]
    ray_losses: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Scene(Protocol):
    """Anything that can be rendered and optimized."""

    def render(self, cameras: Cameras, background: Float[Tensor, "3"], rng: torch.Generator | None = None) -> Frame:
        """Differentiable render over a plain background; `rng` jitters the samples in training, None turns this off."""
        ...

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the optimizer, each with a learning rate."""
        ...

    def regularizer(self, frame: Frame, cameras: Cameras, progress: float) -> Float[Tensor, ""]:
        """The scene's own losses, weighted, at `progress` in [0, 1] of the run."""
        ...

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Updates after a step: occupancy grids; densification, which also edits the optimizer's state."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


@runtime_checkable
class Field(Protocol):
    """A volume, as mesh export reads it."""

    @property
    def bounds(self) -> float:
        """The volume is the cube [-bounds, bounds]^3."""
        ...

    def density(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Volume density per unit length, >= 0."""
        ...

    def color(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Albedo in [0, 1]."""
        ...


@dataclass(frozen=True)
class Gaussians:
    """N 3D Gaussians in world coordinates ("splats"), as they are rendered and as files hold them."""

    means: Float[Tensor, "N 3"]
    stds: Float[Tensor, "N 3"]  # standard deviations along the own axes
    rotations: Float[Tensor, "N 4"]  # quaternions (w x y z) from own to world axes, of any length
    opacities: Float[Tensor, "N"]  # in (0, 1), at the centre
    harmonics: Float[Tensor, "N K 3"]  # of the color, K = (degree + 1)^2; see `render.harmonics`


@runtime_checkable
class HasVolume(Protocol):
    """A scene that can be exported as a mesh."""

    def volume(self) -> Field:
        """The scene as a density and a color at every point."""
        ...


@runtime_checkable
class HasDraft(Protocol):
    """A scene that can also be rendered from values on a lattice, coarser and faster: for videos and many views."""

    def draft(self, cell: float) -> HasViews:
        """The scene as it is now on a lattice whose points are `cell` apart, world units, or as far as memory asks."""
        ...


@runtime_checkable
class HasViews(Protocol):
    """Anything that can be rendered."""

    def render(self, cameras: Cameras, background: Float[Tensor, "3"]) -> Frame:
        """A render over a plain background."""
        ...


@runtime_checkable
class HasGaussians(Protocol):
    """A scene that can be exported as a file of splats."""

    def gaussians(self) -> Gaussians:
        """The splats of the scene."""
        ...


@runtime_checkable
class HasPixels(Protocol):
    """A flat scene: images without cameras."""

    pixels: Tensor  # [B 3 H W]


@runtime_checkable
class HasOptimizer(Protocol):
    """A scene whose parameters are stepped by an optimizer of its own instead of Adam."""

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of a new run."""
        ...


@runtime_checkable
class State(Protocol):
    """What a method carries from step to step, as a typed value of its own; it is part of every checkpoint."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


@dataclass(frozen=True)
class Query:
    """The input of a method besides x: prior, conditions, progress of the run, randomness, the method's state."""

    prior: Prior
    conditions: Conditions
    progress: float  # in [0, 1)
    rng: torch.Generator
    state: Any = None  # what the method's own `start` returned, or None
    cameras: Cameras | None = None  # of the B views; None for flat images, each of which is an asset of its own
    rgb: Float[Tensor, "B 3 H W"] | None = None  # the render itself, for methods with a loss on pixels
    asset_seed: int = 0  # seed of the fixed per-asset noise (DSD)


@dataclass(frozen=True)
class Distilled:
    """The output of a method: the gradient on x, optionally one on the render's pixels, and tensors to display."""

    grad: Float[Tensor, "B C h w"]
    grad_rgb: Float[Tensor, "B 3 H W"] | None = None
    probe: dict[str, Tensor] = field(default_factory=dict)


Method = Callable[[Query, Tensor], Distilled]
"""(query, x [B C h w]) -> Distilled: any function of this type is a method.

Two optional attributes: `start() -> State` begins the state that `Query.state` carries from step to step, and
`learner` is a second score that is trained beside the scene.
"""


@runtime_checkable
class MethodSettings(Protocol):
    """The settings of a method, from which it is built for one prior (`methods.method.MethodConfig`)."""

    def prepare(self, prior: Prior, seed: int) -> Method:
        """The method, with a learner of the prior's where it trains one."""
        ...


Views = Callable[[float, int, torch.Generator], Any]
"""(progress, batch, rng) -> Cameras of a training step; None for a flat scene."""


@dataclass(frozen=True)
class Step:
    """The result of one optimization step; `checkpoint()` returns the complete state after it."""

    index: int
    regularization: float
    distilled: Distilled
    frame: Frame
    x: Tensor
    cameras: Cameras | None
    checkpoint: Callable[[], dict[str, Any]]


def finite(name: str, tensors: Iterable[Tensor]) -> None:
    """Raise FloatingPointError naming `name` unless every tensor is finite."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise FloatingPointError(f"{name} is not finite (NaN or infinity)")
