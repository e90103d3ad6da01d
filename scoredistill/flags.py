"""Flags that depend on other flags: each method has its own; and what a complaint about flags says in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field, make_dataclass
from typing import Annotated, Any

import tyro

from scoredistill.settings import meaning, settings_of


def with_settings(command: type[Any], method: str) -> type[Any]:
    """A command's dataclass with a flag for every setting of a method; a new method's flags need no line here."""
    flags = [
        (name, Annotated[setting.kind | None, tyro.conf.arg(help=meaning(name, setting))], field(default=None))
        for name, setting in settings_of(method).items()
    ]
    described = {"__doc__": command.__doc__, "__module__": command.__module__}  # where tyro finds the other comments
    return make_dataclass(command.__name__, flags, bases=(command,), frozen=True, namespace=described)


def said(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag that decides which other flags there are; None where it is not given."""
    for index, word in enumerate(arguments):
        name, _, value = word.partition("=")
        if name == flag:
            return value or next(iter(arguments[index + 1 :]), None)
    return None


def one_line(box: str) -> str:
    """tyro's framed complaint as a sentence: what stands between its title and its first rule."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    end = next((index for index, line in enumerate(lines) if re.match(r"^[─╰]", line)), len(lines))
    said = " ".join(line for line in lines[:end] if line)
    return re.sub(r"\s+", " ", said).rstrip(".") + "; see: scoredistill --help"
