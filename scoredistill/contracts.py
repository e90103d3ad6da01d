"""All nouns of the house on one page: what a prior, a scene, a method and a step are to each other.

B batch of views   R rows of conditioning   C h w channels and size in the prior's own space   H W pixels
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

Condition = Any
"""One conditioning of B views; opaque to everyone but the prior that made it."""


@dataclass(frozen=True)
class Photo:
    """A picture of one object, cut out of its background, and the camera it was taken with; `rgb` is times opacity."""

    rgb: Float[Tensor, "3 h w"]
    opacity: Float[Tensor, "1 h w"]
    camera: Cameras  # one, at the size of the renders that are compared with the photo

    def over(self, background: Float[Tensor, "3"]) -> Float[Tensor, "3 h w"]:
        """The object before a plain background."""
        return self.rgb + (1 - self.opacity) * background.to(self.rgb)[:, None, None]


@dataclass(frozen=True)
class Prompt:
    """What is asked for: one text, or one for each image of a batch, the negative prompt, and perhaps a photo."""

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
    """What a prior may be conditioned on, for each of B views.

    `null` is what guidance leads away from: the negative prompt, or where there is none `empty`, no words at all; both
    are None where guidance is distilled into the prior. `plain` is the text without view words. `perpendicular` holds
    (negative view condition, weights [B]) pairs for Perp-Neg (METHODS: Armandpour et al. 2023). `keys` name the text
    of each row, equal names for equal conditions; None where conditions vary without end.
    """

    text: Condition
    null: Condition
    empty: Condition
    plain: Condition
    perpendicular: tuple[tuple[Condition, Float[Tensor, "B"]], ...] = ()
    keys: tuple[str, ...] | None = None

    def each(self, told: Callable[[Condition], Condition]) -> Conditions:
        """`told` of every condition; one that is given twice stays one, so that methods compute it once."""
        known: dict[int, Condition] = {id(None): None}

        def once(condition: Condition) -> Condition:
            if id(condition) not in known:
                known[id(condition)] = told(condition)
            return known[id(condition)]

        said = {name: once(getattr(self, name)) for name in ("text", "null", "empty", "plain")}
        return replace(self, **said, perpendicular=tuple((once(view), weight) for view, weight in self.perpendicular))


@runtime_checkable
class Prior(Protocol):
    """A frozen diffusion model, as every method sees it: a schedule and a noise prediction."""

    schedule: NoiseSchedule
    views: int  # images denoised jointly: 1, or 4 for a multi-view prior

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B C h w"]:
        """Pixels to the prior's space, differentiable; where that is random, it is drawn from `rng`, or the mean."""
        ...

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """The prior's space back to pixels."""
        ...

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """Conditions for `count` views; with cameras the text names the view, without it is the plain prompt."""
        ...

    def eps(
        self, x_t: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], *conditions: Condition
    ) -> tuple[Float[Tensor, "B C h w"], ...]:
        """Noise predictions eps(x_t, t, y), one for each condition, in one batched call; differentiable in x_t."""
        ...


@runtime_checkable
class Sighted(Protocol):
    """A prior that is shown the prompt's photo, in which the object spans `photo_fill` of a side (None: any)."""

    photo_fill: float | None


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
        """What the learner's optimizer sees."""
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
    """Whatever can be rendered and optimized."""

    def render(self, cameras: Cameras, background: Float[Tensor, "3"], rng: torch.Generator | None = None) -> Frame:
        """Differentiable render over a plain background; `rng` jitters the samples (training), None renders plainly."""
        ...

    def param_groups(self) -> list[dict[str, Any]]:
        """What the optimizer sees: groups of parameters with their learning rates."""
        ...

    def regularizer(self, frame: Frame, cameras: Cameras, progress: float) -> Float[Tensor, ""]:
        """The scene's own losses, weighted, at `progress` in [0, 1] of the run."""
        ...

    def refine(self, step: int, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> None:
        """Housekeeping after a step: occupancy grids; densification, which takes the optimizer's state along."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


@runtime_checkable
class Field(Protocol):
    """All that mesh export asks of a volume."""

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
    """N 3-D Gaussians in world coordinates ("splats"), as they are rendered and as files hold them."""

    means: Float[Tensor, "N 3"]
    stds: Float[Tensor, "N 3"]  # standard deviations along the own axes
    rotations: Float[Tensor, "N 4"]  # quaternions (w x y z) from own to world axes, of any length
    opacities: Float[Tensor, "N"]  # in (0, 1), at the centre
    harmonics: Float[Tensor, "N K 3"]  # of the color, K = (degree + 1)^2; see `render.harmonics`


@dataclass(frozen=True)
class Query:
    """One question to a method: the prior, what it is conditioned on, where in the run we are, and its own dice."""

    prior: Prior
    conditions: Conditions
    progress: float  # in [0, 1)
    rng: torch.Generator
    memory: dict[str, Tensor] = field(default_factory=dict)  # what a method keeps between steps; the loop saves it
    cameras: Cameras | None = None  # of the B views; None for flat images, each of which is an asset of its own
    rgb: Float[Tensor, "B 3 H W"] | None = None  # the render itself, for methods with a term on pixels
    asset: int = 0  # seed of the noise that an asset keeps for good


@dataclass(frozen=True)
class Distilled:
    """A method's answer: the gradient on x, perhaps one on the render's pixels, and what a viewer may want to see."""

    grad: Float[Tensor, "B C h w"]
    grad_rgb: Float[Tensor, "B 3 H W"] | None = None
    probe: dict[str, Tensor] = field(default_factory=dict)


Method = Callable[[Query, Tensor], Distilled]
"""(query, x [B C h w]) -> Distilled; `Distillation` is the master form, any function of this type is a method.

A method that trains a second score beside the scene shows it as its attribute `learner`.
"""

Views = Callable[[float, int, torch.Generator], Any]
"""(progress, batch, rng) -> Cameras, from where to look as training progresses; None for a flat scene."""


@dataclass(frozen=True)
class Step:
    """What one step of the loop did; `checkpoint()` gives everything needed to go on from here, bit for bit."""

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
