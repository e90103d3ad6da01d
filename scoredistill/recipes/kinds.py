"""Methods and scenes by the names that flags and files use, those of one's own (FILE.py:NAME) included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from scoredistill import own
from scoredistill.config import Config, named
from scoredistill.contracts import Learner, Method
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.method import MethodConfig
from scoredistill.scenes.image import ImageConfig
from scoredistill.scenes.nerf import NerfConfig
from scoredistill.scenes.splats import SplatsConfig

SCENES: dict[str, type[Config]] = {"nerf": NerfConfig, "splats": SplatsConfig, "image": ImageConfig}


@dataclass(frozen=True)
class OwnMethod(MethodConfig):
    """A plain function (query, x) -> Distilled from the user's own file or module."""

    function: str = ""  # FILE.py:NAME or MODULE:NAME

    def build(self, learner: Learner | None = None) -> Method:
        return own.load_own(self.function)


@dataclass(frozen=True)
class OwnScene(Config):
    """A scene class from the user's own file or module, called as NAME(rng=, steps=, resolution=)."""

    factory: str = ""  # FILE.py:NAME or MODULE:NAME

    @property
    def flat(self) -> bool:
        """Whether the scene is an image, without cameras."""
        return bool(getattr(own.load_own(self.factory), "flat", False))

    def build(self, *, rng: torch.Generator, steps: int, resolution: int) -> Any:
        """The scene before the first step."""
        return own.load_own(self.factory)(rng=rng, steps=steps, resolution=resolution)


_OWN_NAMES: dict[type, str] = {}  # classes of one's own by the name that they were loaded by


def method_config(name: str) -> MethodConfig:
    """The method of a name, with its default settings; ValueError for an unknown name."""
    if not own.is_own(name):
        return named("method", name, METHODS)()
    found = _load(name)
    if isinstance(found, type) and issubclass(found, MethodConfig):
        return found()
    if callable(found):
        return OwnMethod(function=own.full_name(name))
    raise ValueError(f"{name} is neither a MethodConfig nor a function (query, x) -> Distilled")


def scene_config(name: str) -> Config:
    """The scene of a name, with its default settings; ValueError for an unknown name."""
    if not own.is_own(name):
        return named("scene", name, SCENES)()
    found = _load(name)
    if isinstance(found, type) and issubclass(found, Config):
        return found()
    if callable(found):
        return OwnScene(factory=own.full_name(name))
    raise ValueError(f"{name} is neither a Config with build(rng=, steps=, resolution=) nor a class called with them")


def name_of(config: Config) -> str:
    """The name by which `method_config` or `scene_config` finds the class of a configuration again.

    ValueError for a class that was defined elsewhere, as in a notebook: a run folder could not name it.
    """
    if isinstance(config, OwnMethod):
        return config.function
    if isinstance(config, OwnScene):
        return config.factory
    for name, kind in (METHODS | SCENES).items():
        if type(config) is kind:
            return name
    if type(config) in _OWN_NAMES:
        return _OWN_NAMES[type(config)]
    module, name = type(config).__module__, type(config).__qualname__
    if module != "__main__" and not module.startswith("scoredistill_own_"):
        return f"{module}:{name}"
    raise ValueError(f"{name} cannot be named in a run folder: move it to a file and pass FILE.py:{name}")


def _load(name: str) -> Any:
    found = own.load_own(name)
    if isinstance(found, type):
        _OWN_NAMES[found] = own.full_name(name)
    return found
