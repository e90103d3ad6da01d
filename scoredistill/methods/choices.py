"""Settings that choose between named rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Rule = TypeVar("Rule")


def chosen(setting: str, name: str, rules: Mapping[str, Rule]) -> Rule:
    """The rule called `name`; ValueError in one line that lists the names for any other."""
    if name not in rules:
        raise ValueError(f"unknown {setting} {name!r}; choose one of {', '.join(rules)}")
    return rules[name]
