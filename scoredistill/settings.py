"""What can be said to a method: its keyword arguments, as names, types and values that flags and files can hold."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from scoredistill.methods import time
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.distillation import WeightRule

Value = float | int | bool | str
Named = TypeVar("Named")

WEIGHTS: dict[str, WeightRule] = {
    "sbar": time.sbar,
    "sigma_squared": time.sigma_squared,
    "constant": time.constant,
}
LEARNER: dict[str, Value] = {"learner_rank": 4, "learner_lr": 3e-3}
"""Settings of the second score of a method that trains one. The papers' rate of 1e-4 is for 25 times as many steps."""

GLOSSARY: dict[str, str] = {
    "scale": "guidance, null + scale (text - null)",
    "scale_end": "guidance at the end of the run",
    "inversion_start": "least time at which the inversion asks the prior",
    "inversion_scale": "guidance of the inversion",
    "reference_scale": "guidance of the reference",
    "ode_scale": "guidance of the asset's ODE",
    "ode_steps": "DDIM steps of the asset's ODE",
    "ode_end": "where on the ODE its direction is read: at a point of its grid, or exactly at the second time",
    "rounding": "the point of the grid: floor the noisier neighbor, ceil the cleaner one",
    "steps_per_unit": "int(steps_per_unit t) inversion steps",
    "solver_steps_per_unit": "int(solver_steps_per_unit t) steps back down",
    "denoising_steps": "queries for one denoised image",
    "stride": "distance in t of two points of the inversion",
    "tau": "the noise is inferred at up to t + tau",
    "delta": "distance of the second time from t; in ASD and DSD in units of t - t_min",
    "delta_start": "that distance at the start of the run",
    "delta_mode": "delta as it is, or times a random number in [0, 1)",
    "gap_min": "least distance of the two times",
    "gap_max": "largest distance of the two times",
    "entropy": "fresh noise in the inferred one, in units of sigma",
    "start_noise": "noise that all pixels of a channel share, at the start of the inversion",
    "churn": "share of fresh noise in the kept one at every step",
    "t_min": "least diffusion time",
    "t_max": "largest diffusion time",
    "t_min_start": "least diffusion time at the start of the run",
    "t_max_late": "largest diffusion time late in the run",
    "t_start": "the lower time at the start of the run",
    "t_end": "the lower time at the end of the run",
    "late": "share of the run after which t_max_late holds",
    "warm": "share of the run over which t_max and delta reach their late values",
    "ramp": "share of the run over which the negative prompt gains its share, and after which t_max_late holds",
    "anneal": "t falls from t_max to t_min instead of being random",
    "law": "how t falls: with the square root of progress, or linearly",
    "switch": "the least t at which the negative prompt's score is taken away",
    "form": "as the official code does, or as the paper says",
    "noise_source": "where the noise comes from",
    "noise_steps": "iterations of the noise sources fixed_point and sgd",
    "noise_rate": "learning rate of the noise source sgd",
    "bug_compat": "ask about the image of level t + tau as if it were of t, as the official code does",
    "perp_neg": "share of the Perp-Neg weights",
    "rescale": "share of the contrast that guidance adds and that is taken away again",
    "negative_share": "share of the negative prompt in what the text's score is compared with",
    "clip_start": "bound on every element of the gradient at the start of the run",
    "clip_end": "that bound at the end of the run",
    "normalize": "divide the gradient of each image by its mean size",
    "factor": "on the gradient",
    "weight": "w(t): sigma / alpha, sigma^2 or 1",
    "reduction": "what the gradient of a batch is divided by",
    "image_weight": "weight of the term on pixels",
    "lam": "share of the camera-free score",
    "learner_rank": "rank of the learner's adapters",
    "learner_lr": "learning rate of the learner",
}
"""What every setting means."""


@dataclass(frozen=True)
class Setting:
    """One argument of a method."""

    kind: type
    default: Value
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Value) -> Value:
        """The value in its own type; ValueError in one line for one of another type, or none of the choices."""
        if not fits(value, (self.kind,)):
            raise ValueError(f"{name} must be {self.kind.__name__}, got {value!r}")
        if self.choices:
            named(name, str(value), dict.fromkeys(self.choices))
        return self.kind(value)


def named(what: str, name: str, known: Mapping[str, Named]) -> Named:
    """`known[name]`; ValueError with the nearest known names."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known)
    raise ValueError(f"unknown {what} {name!r}; nearest known: {', '.join(near)}")


def fits(value: Any, allowed: tuple[type, ...]) -> bool:
    """Whether a value is of one of these types; a whole number is a number, a truth value is not."""
    if isinstance(value, bool):
        return bool in allowed
    return isinstance(value, allowed) or (isinstance(value, int) and float in allowed)


def settings_of(method: str) -> dict[str, Setting]:
    """Every setting of a method of the catalogue, with its own default."""
    make = METHODS[method]
    hints = get_type_hints(make)
    found: dict[str, Setting] = {}
    for name, parameter in inspect.signature(make).parameters.items():
        if name == "learner":
            found |= {key: Setting(type(value), value) for key, value in LEARNER.items()}
        else:
            found[name] = _setting(hints[name], parameter.default)
    return found


def meaning(name: str, setting: Setting) -> str:
    """What a setting means, and its choices where there are any."""
    choices = [f"one of {', '.join(setting.choices)}"] if setting.choices else []
    return "; ".join([GLOSSARY[name], *choices])


def complete(method: str, preset: Mapping[str, Value], said: Mapping[str, Value]) -> dict[str, Value]:
    """All settings of a method: what was said, else the preset's, else the default; ValueError for what it lacks."""
    known = settings_of(method)
    if missing := [name for name in said if name not in known]:
        raise ValueError(f"method {method!r} has no setting {', '.join(missing)}; it has: {', '.join(known)}")
    merged = {name: setting.default for name, setting in known.items()} | dict(preset) | dict(said)
    return {name: known[name].check(name, value) for name, value in merged.items()}


def arguments(settings: Mapping[str, Value]) -> dict[str, Any]:
    """The settings as the method's own arguments: rules instead of their names, the learner's left out."""
    own: dict[str, Any] = {name: value for name, value in settings.items() if name not in LEARNER}
    return own | {"weight": WEIGHTS[own["weight"]]}


def _setting(hint: Any, default: Any) -> Setting:
    if hint == WeightRule:
        name = next(name for name, rule in WEIGHTS.items() if rule is default)
        return Setting(str, name, tuple(WEIGHTS))
    if get_origin(hint) is Literal:
        return Setting(str, default, get_args(hint))
    return Setting(hint, default)
