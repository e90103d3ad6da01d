"""The values of a setting as text writes them: 0..9, and 64,128."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from scoredistill.config import shown
from scoredistill.recipes.tree import read_tree

MOST = 10_000
"""Values of a setting, and trials of a sweep, at most."""
SPAN = re.compile(r"(-?\d{1,15})\.\.(-?\d{1,15})")


def assigned(text: str) -> tuple[str, list[Any]]:
    """The field and the values of FIELD=VALUE,VALUE, spans still as text; ValueError for anything else.

    Each value is YAML: 64, 0.5, true, a text. One that holds a comma goes into a list: FIELD=[[0.1, 0.2], [0.3, 0.4]].
    """
    field, equals, values = text.partition("=")
    if not equals or not field.strip() or not values.strip():
        raise ValueError(f"--set {shown(text)} is no setting with values, as in: --set scene.samples=64,128")
    field = field.strip().replace("-", "_")
    if values.lstrip().startswith("["):
        return field, read_tree(values, f"--set {field}")
    return field, [_scalar(field, value) for value in values.split(",")]


def spread(field: str, values: Any) -> list[Any]:
    """The values of a field as a list, spans A..B of whole numbers written out; a single value is a list of one.

    ValueError for none at all, or more than `MOST`.
    """
    found: list[Any] = []
    for value in values if isinstance(values, list | tuple) else [values]:
        span = SPAN.fullmatch(value.strip()) if isinstance(value, str) and field != "prompt" else None
        found += _span(field, int(span[1]), int(span[2])) if span else [value]
    if not found:
        raise ValueError(f"{field} has no value: name one or more, or leave it out")
    if len(found) > MOST:
        raise ValueError(f"{field} has {len(found):,} values, at most {MOST:,} are possible")
    return found


def frozen(value: Any) -> Any:
    """A value of a file as the recipe holds it: lists as tuples."""
    return tuple(map(frozen, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _span(field: str, first: int, last: int) -> list[int]:
    if last < first:
        raise ValueError(f"{field} {first}..{last} ends before it begins: write {last}..{first}")
    if last - first >= MOST:
        raise ValueError(f"{field} {first}..{last} are {last - first + 1:,} values, at most {MOST:,} are possible")
    return list(range(first, last + 1))


def _scalar(field: str, text: str) -> Any:
    text = text.strip()
    return text if SPAN.fullmatch(text) or field == "prompt" else read_tree(text, f"--set {field}")
