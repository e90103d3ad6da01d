"""What every method's file defines: one frozen dataclass of settings that is the method, and how papers use it.

    SDI(scale=7.5)(query, x)                      one gradient
    optimize(scene, prior, SDI(), ...)            a run
    SDI.official(), SDI.toybox(flat=False)        the settings of the official code, and those tuned on Toybox

A new method is a subclass of `MethodConfig` (an equation of its own, in `__call__`) or of `DistillationConfig` (the
master form of `distillation.py`, in `build`); `--method file.py:Class` runs it without an entry in the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch

from scoredistill.config import CarriedTime, Config, LearningRate, Range, hints, ordered
from scoredistill.contracts import Distilled, Learner, Method, Prior, Query
from scoredistill.methods.distillation import Distillation, X
from scoredistill.randomness import stream_seed
from scoredistill.schedule import cosine, scaled_linear

Values = Mapping[str, Any]
"""Settings by the names of a method's fields."""


@dataclass(frozen=True)
class MethodConfig(Config):
    """The settings of a method; an instance is a `Method`. Field defaults are the official code's.

    Class attributes state how its paper uses it; presets read them.
    """

    citation: ClassVar[str] = ""  # BibTeX
    OFFICIAL: ClassVar[Values] = {}  # settings of the official 3D code that differ from the fields' defaults
    TOYBOX: ClassVar[Values] = {}  # settings tuned on the embedded priors
    TOYBOX_3D: ClassVar[Values] = {}  # those that differ again where many views share one scene
    TOYBOX_FLAT: ClassVar[Values] = {}  # those that differ again on flat images
    TOYBOX_IMAGE: ClassVar[Values] = {}  # settings of the flat image itself (`scenes.ImageConfig`)
    PICTURE: ClassVar[Values] = {}  # settings on Zero-1-to-3
    negative_prompt: ClassVar[str] = ""  # with published models
    view_prompting: ClassVar[str] = "words"  # with published models: words, prefix, interpolated or perp-neg
    front_deg: ClassVar[float] = 45.0  # half-angle of the azimuths prompted as front view, and as back view
    gradient_norm: ClassVar[float] = 1.0  # relative to SDI; Toybox presets weight the scene's regularizers by it
    needs_learner: ClassVar[bool] = False

    def __call__(self, query: Query, x: X) -> Distilled:
        """The gradient on x [B C h w]."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(query, x), or build() of a distillation")

    def build(self, learner: Learner | None = None) -> Method:
        """The method as the optimization loop calls it."""
        return self

    def prepare(self, prior: Prior, seed: int) -> Method:
        """The method for one prior; VSD and ESD create a learner from the prior."""
        return self.build()

    def check(self) -> None:
        known = hints(type(self))
        for low, high in (("t_min", "t_max"), ("t_min", "t_max_late"), ("t_min_start", "t_max")):
            if low in known and high in known:
                ordered(low, high, self)

    @classmethod
    def official(cls, *, picture: bool = False) -> MethodConfig:
        """The settings of the official 3D code, for published models; with `picture`, those for Zero-1-to-3."""
        return cls(**{**cls.OFFICIAL, **(cls.PICTURE if picture else {})})

    @classmethod
    def toybox(cls, *, flat: bool) -> MethodConfig:
        """The settings tuned on the embedded priors, for 2D images or for 3D scenes."""
        descends = flat and "descent" in cls.TOYBOX_IMAGE
        reduction = "sum_over_batch" if descends else "mean_over_latent"
        tuned = {"reduction": reduction, **cls.TOYBOX, **(cls.TOYBOX_FLAT if flat else cls.TOYBOX_3D)}
        known = hints(cls)
        return replace(carried_to_toybox(cls.official()), **{name: tuned[name] for name in tuned if name in known})


@dataclass(frozen=True)
class DistillationConfig(MethodConfig):
    """Settings of a method that has the master form grad = w(t) [target - reference]."""

    def build(self, learner: Learner | None = None) -> Distillation:
        """The terms of the master form."""
        raise NotImplementedError(f"{type(self).__name__} must define build() of a distillation")

    def __call__(self, query: Query, x: X) -> Distilled:
        return self.build()(query, x)


@dataclass(frozen=True)
class LearnedMethod(DistillationConfig):
    """Settings of a method that trains a second score on the renders: low-rank adapters on the prior's network."""

    learner_rank: Annotated[int, Range(1, 1024)] = 4  # rank of the learner's adapters
    learner_lr: LearningRate = 3e-3  # learning rate of the learner; the papers use 1e-4 for 25 times as many steps
    learner_start: Literal["prior", "published"] = "prior"  # initially the prior, or with a random camera network

    needs_learner: ClassVar[bool] = True

    def prepare(self, prior: Prior, seed: int) -> Distillation:
        begin = getattr(prior, "learner", None)
        if begin is None:
            name = type(self).__name__
            raise ValueError(f"{name} trains a learner, and this prior has none: use another method, such as sdi")
        seed, start = stream_seed(seed, "learner"), self.learner_start
        return self.build(begin(rank=self.learner_rank, lr=self.learner_lr, seed=seed, start=start))


def carried_time(t: float) -> float:
    """The time at which Toybox's images are as noisy as Stable Diffusion's at `t`: equal sigma / alpha."""
    like = torch.zeros(1, dtype=torch.float64)
    return cosine().time_of(float(scaled_linear().sbar(torch.tensor([t]), like)))


def carried_to_toybox(config: Any) -> Any:
    """The settings with every `DiffusionTime` carried to Toybox's schedule.

    Distances between times stay: Toybox's move nine tenths as fast.
    """
    times = {name for name, hint in hints(type(config)).items() if _is_carried(hint)}
    return replace(config, **{name: carried_time(getattr(config, name)) for name in times})


def _is_carried(hint: Any) -> bool:
    return any(isinstance(rule, CarriedTime) for rule in getattr(hint, "__metadata__", ()))
