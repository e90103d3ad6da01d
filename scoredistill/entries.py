"""The catalogue as it is told: what docstrings, signatures, citations and counts say of each method."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from scoredistill.costs import Cost, cost
from scoredistill.methods.catalogue import CITATIONS, METHODS
from scoredistill.presets import PRESETS
from scoredistill.priors.hub import ALIASES, INDEX, INSTALL
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.priors.toybox_tasks import ToyboxPosePrior, ToyboxViewsPrior
from scoredistill.run import Run, resolve
from scoredistill.settings import Value, meaning, named, settings_of

WIDTH = 110  # of a page in a terminal


@dataclass(frozen=True)
class Entry:
    """A method in words: what its docstring says, and where it comes from."""

    name: str
    title: str
    equation: str
    text: str
    source: str  # authors and year
    paper: str  # its title
    citation: str


def entry(name: str) -> Entry:
    """The method's docstring, taken apart at its equation, and its citation; ValueError for an unknown name."""
    first, _, details = (inspect.getdoc(named("method", name, METHODS)) or "").partition("\n")
    title, _, equation = first.partition(": grad = ")
    citation = CITATIONS[name]
    authors, paper, year = (_bibtex(citation, what) for what in ("author", "title", "year"))
    families = [author.split(",")[0] for author in authors.split(" and ")]
    who = " and ".join(families) if len(families) < 3 else f"{families[0]} et al."
    return Entry(name, title, "grad = " + equation.rstrip("."), details.strip(), f"{who} {year}", paper, citation)


def overview(preset: str) -> str:
    """Every method with its scales and cost under `preset`, its source, and its equation on a second line."""
    head = ("method", "calls", "rows", "scale", "source", "title")
    rows: list[Sequence[str]] = [head]
    for name in METHODS:
        told, spent = entry(name), cost(name, preset)
        rows.append((name, f"{spent.calls:.3g}", f"{spent.rows:.3g}", scales(name, preset), told.source, told.title))
    lines = aligned(rows)
    indent = "\n" + " " * (max(map(len, METHODS)) + 2)
    listed = [line + indent + entry(name).equation for name, line in zip(METHODS, lines[1:], strict=True)]
    return "\n".join([lines[0], *listed, "", f"calls and rows of the denoiser per update, scales: preset {preset}"])


def account(name: str, preset: str) -> str:
    """All about one method: equation, source, cost, and its settings with their defaults, presets and meanings."""
    told, spent, negative = entry(name), cost(name, preset), cost(name, preset, "ugly")
    paragraphs = [textwrap.fill(part.replace("\n", " "), WIDTH) for part in told.text.split("\n\n")]
    head = [f"{name}: {told.title}", "", "    " + told.equation, "", *paragraphs, ""]
    about = [f"{told.source}: {told.paper}", f"{in_words(spent, negative)} with preset {preset}", ""]
    rows = [("setting", "default", *PRESETS, "meaning"), *settings_table(name)]
    return "\n".join([*head, *about, *aligned(rows)])


def settings_table(name: str) -> list[tuple[str, ...]]:
    """(setting, own default, value of each preset, meaning) for each setting of a method."""
    presets = [_preset(name, preset) for preset in PRESETS]
    return [
        (key, written(setting.default), *(written(preset[key]) for preset in presets), meaning(key, setting))
        for key, setting in settings_of(name).items()
    ]


def priors() -> str:
    """Every prior by its name and where its weights are, in this package or on the hub; nothing is fetched."""
    rows = [
        ("toybox", f"64x64 pixels of the Toybox world, {embedded(ToyboxPrior)}"),
        ("toybox-mv", f"four views of a toy at once, {embedded(ToyboxViewsPrior)}"),
        ("toybox-pose", f"other views of a toy's picture (--image), {embedded(ToyboxPosePrior)}"),
        *((name, ", else ".join(ALIASES[name])) for name in ALIASES),
        ("PATH.safetensors", "other weights of Toybox's kind, made by tools/train_toybox.py"),
        ("FOLDER", f"a published model in the layout of diffusers, with {INDEX}"),
        (
            "org/name[@revision]",
            "such a folder on the hub, fetched when first asked for; HF_HUB_OFFLINE=1 keeps to the cache",
        ),
    ]
    return "\n".join([*aligned(rows), "", f"all but Toybox's need: {INSTALL}"])


def embedded(prior: type[ToyboxPrior]) -> str:
    """Where the weights of one of Toybox's priors are, or how they are made."""
    if prior.weights.exists():
        return f"embedded: {prior.weights}"
    return f"not trained yet: python {prior.tool}"


def scales(name: str, preset: str | None = None) -> str:
    """The canonical guidance scales of a method, of a preset or its own, as in "7.5, inversion -7.5"."""
    values = _preset(name, preset) if preset else {key: each.default for key, each in settings_of(name).items()}
    parts = [(key.replace("scale", "").strip("_"), value) for key, value in values.items() if "scale" in key]
    return ", ".join(f"{what} {written(value)}".strip() for what, value in parts) or "none"


def in_words(spent: Cost, negative: Cost) -> str:
    """A cost as half a sentence; the rows that a negative prompt adds are named where it adds any."""
    more = "" if negative.rows == spent.rows else f" ({negative.rows:.3g} rows with a negative prompt)"
    calls = "call" if spent.calls == 1 else "calls"
    return f"{spent.calls:.3g} {calls} and {spent.rows:.3g} rows of the denoiser per update{more}"


def written(value: Value) -> str:
    """A setting's value as a config.yaml says it, numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _preset(name: str, preset: str) -> dict[str, Value]:
    return dict(resolve(Run("anything", method=name, scene="image", preset=preset)).settings)


def _bibtex(citation: str, what: str) -> str:
    """A field of a BibTeX entry, on one line and without inner braces."""
    found = re.search(rf"^  {what} *= \{{(.*?)\}},?$", citation, re.DOTALL | re.MULTILINE)
    assert found is not None
    return re.sub(r"[{}]", "", " ".join(found[1].split()))
