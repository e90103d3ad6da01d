"""The commands by name, each a dataclass of its flags that is called to run it."""

from __future__ import annotations

from typing import Any

from scoredistill.cli.generate import Generate, Image, Resume
from scoredistill.cli.lists import Doctor, Methods, Metrics, Priors
from scoredistill.cli.results import Compare, Evaluate, Export, Render
from scoredistill.cli.sample import Sample
from scoredistill.cli.study import Study
from scoredistill.cli.sweep import Sweep
from scoredistill.cli.view import View
from scoredistill.config import nearest

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
