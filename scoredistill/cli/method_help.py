"""The methods as the command line and docs/methods.md describe them: docstrings, settings, citations, counted costs."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin

from scoredistill.cli.costs import Cost, cost
from scoredistill.config import hints, named
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.method import MethodConfig
from scoredistill.recipes.presets import PRESETS

WIDTH = 110  # of a page in a terminal
TABLE_PRESETS = (
    "fast",
    "paper",
)  # presets in tables of settings; study has the methods of fast, low-vram those of paper


@dataclass(frozen=True)
class Entry:
    """A method in words: its docstring in parts, and its source."""

    name: str
    title: str
    equation: str
    text: str
    source: str  # authors and year
    paper: str  # its title
    citation: str


def entry(name: str) -> Entry:
    """The method's docstring, split at its equation, and its citation; ValueError for an unknown name."""
    kind = named("method", name, METHODS)
    first, _, details = (inspect.getdoc(kind) or "").partition("\n")
    title, _, equation = first.partition(": grad = ")
    authors, paper, year = (_bibtex(kind.citation, what) for what in ("author", "title", "year"))
    families = [author.split(",")[0] for author in authors.split(" and ")]
    who = " and ".join(families) if len(families) < 3 else f"{families[0]} et al."
    return Entry(name, title, "grad = " + equation.rstrip("."), details.strip(), f"{who} {year}", paper, kind.citation)


def methods_table(preset: str) -> str:
    """Every method with its scales and cost under `preset`, its source, and its equation on a second line."""
    head = ("method", "calls", "rows", "scale", "source", "title")
    rows: list[Sequence[str]] = [head]
    for name in METHODS:
        about, spent = entry(name), cost(of_preset(name, preset))
        rows.append((name, f"{spent.calls:.3g}", f"{spent.rows:.3g}", scales(name, preset), about.source, about.title))
    lines = aligned(rows)
    indent = "\n" + " " * (max(map(len, METHODS)) + 2)
    listed = [line + indent + entry(name).equation for name, line in zip(METHODS, lines[1:], strict=True)]
    return "\n".join([lines[0], *listed, "", f"calls and rows of the denoiser per update, scales: preset {preset}"])


def method_page(name: str, preset: str) -> str:
    """One method: equation, source, cost, and its settings with their defaults, presets and meanings."""
    about, spent = entry(name), cost(of_preset(name, preset))
    negative = cost(of_preset(name, preset), "ugly")
    paragraphs = [textwrap.fill(part.replace("\n", " "), WIDTH) for part in about.text.split("\n\n")]
    head = [f"{name}: {about.title}", "", "    " + about.equation, "", *paragraphs, ""]
    source = [f"{about.source}: {about.paper}", f"{in_words(spent, negative)} with preset {preset}", ""]
    rows = [("setting", "default", *TABLE_PRESETS, "meaning"), *settings_table(name)]
    return "\n".join([*head, *source, *aligned(rows)])


def settings_table(name: str) -> list[tuple[str, ...]]:
    """(setting, own default, value of each preset, meaning) for each setting of a method."""
    presets = [of_preset(name, preset) for preset in TABLE_PRESETS]
    kind = named("method", name, METHODS)
    default = kind()
    return [
        (key, written(getattr(default, key)), *(written(getattr(each, key)) for each in presets), meaning(kind, key))
        for key in hints(kind)
    ]


def meaning(kind: type[MethodConfig], setting: str) -> str:
    """The comment of a field, and its choices where there are any."""
    hint = hints(kind)[setting]
    choices = [f"one of {', '.join(get_args(hint))}"] if get_origin(hint) is Literal else []
    return "; ".join([field_comments(kind)[setting], *choices])


@cache
def field_comments(kind: type[Any]) -> dict[str, str]:
    """The same-line comment of every field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if "__annotations__" not in vars(each):
            continue
        source = textwrap.dedent(inspect.getsource(each))
        lines = source.splitlines()
        (tree,) = ast.parse(source).body
        for node in tree.body:  # type: ignore[attr-defined] (a class has a body)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno:
                comment = re.search(r"  # (.*)$", lines[node.end_lineno - 1])
                found[node.target.id] = comment[1] if comment else ""
    return {field.name: found[field.name] for field in fields(kind)}


def scales(name: str, preset: str | None = None) -> str:
    """The guidance scales of a method, of a preset or its own, as in "7.5, inversion -7.5"."""
    config = of_preset(name, preset) if preset else named("method", name, METHODS)()
    names = [key for key in hints(type(config)) if re.search(r"(^|_)scale(_|$)", key)]
    parts = [(key.replace("scale", "").strip("_"), getattr(config, key)) for key in names]
    return ", ".join(f"{what} {written(value)}".strip() for what, value in parts) or "none"


def of_preset(name: str, preset: str) -> MethodConfig:
    """The settings of a method in a preset, for flat images of the embedded prior."""
    return named("preset", preset, PRESETS)(method=name, scene="image", prior="toybox").method


def in_words(spent: Cost, negative: Cost) -> str:
    """A cost as half a sentence; the rows that a negative prompt adds are named where it adds any."""
    more = "" if negative.rows == spent.rows else f" ({negative.rows:.3g} rows with a negative prompt)"
    calls = "call" if spent.calls == 1 else "calls"
    return f"{spent.calls:.3g} {calls} and {spent.rows:.3g} rows of the denoiser per update{more}"


def written(value: object) -> str:
    """A setting's value as config.yaml has it, numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _bibtex(citation: str, what: str) -> str:
    """A field of a BibTeX entry, on one line and without inner braces."""
    found = re.search(rf"^  {what} *= \{{(.*?)\}},?$", citation, re.DOTALL | re.MULTILINE)
    assert found is not None
    return re.sub(r"[{}]", "", " ".join(found[1].split()))
