"""Runs by what distinguishes them: prompts, seeds, and variants (a method with its settings)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeGuard

from scoredistill.compare.gather import Run
from scoredistill.evaluate.intervals import Values
from scoredistill.export.page import format_value
from scoredistill.recipes.kinds import name_of
from scoredistill.runs.origin import SEED, WITHOUT_EFFECT, settings

PROMPT = ("prompt.text", "prompt.picture.file", "prompt.picture.azimuth_deg", "prompt.picture.elevation_deg")
COUNTS = ("seed", "steps", "views")  # numbers of a row that measure nothing
FIRST = ("scene.name", "prior.name")  # in the name of a variant, where they distinguish it
NAMED = 3  # settings in the name of a variant, at most
LISTED = 8  # values of a setting within a variant, at most


@dataclass(frozen=True)
class Variant:
    """Runs of one method with the same settings, which differ in prompt and seed only."""

    name: str  # unique on the page
    runs: Sequence[Run]

    def values(self, metric: str) -> Values:
        """The metric by prompt and seed, where it is known.

        Runs of the same prompt and seed count once, by their mean.
        """
        found: dict[tuple[Any, Any], list[float]] = {}
        for run in self.runs:
            if is_number(value := run.row.get(metric)):
                found.setdefault((run.prompt, run.seed), []).append(float(value))
        return {key: fmean(each) for key, each in found.items()}

    def of_prompt(self, prompt: tuple[str, str]) -> list[Run]:
        """Its runs of one prompt, by seed."""
        return sorted((run for run in self.runs if run.prompt == prompt), key=lambda run: run.seed)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number or a truth value, which is 0 or 1."""
    return isinstance(value, int | float) and abs(value) < float("inf")


def metrics(runs: Sequence[Run]) -> tuple[list[str], dict[str, float]]:
    """What was measured, in order of appearance: the names of what differs between runs, and what is equal in all."""
    found: dict[str, set[float]] = {}
    for name, value in (item for run in runs for item in run.row.items()):
        if is_number(value) and name not in COUNTS:
            found.setdefault(name, set()).add(float(value))
    return [name for name in found if len(found[name]) > 1], {n: v.pop() for n, v in found.items() if len(v) == 1}


def variants(runs: Sequence[Run]) -> list[Variant]:
    """The variants in order of appearance, named by the method and the settings in which those of a method differ."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_effective(run), default=str), []).append(run)
    methods: dict[str, list[list[Run]]] = {}
    for group in groups.values():
        methods.setdefault(_method(group[0]), []).append(group)
    named = {id(group): name for method, found in methods.items() for name, group in _named(method, found)}
    return [Variant(named[id(group)], group) for group in groups.values()]


def differing(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names whose values differ between those mappings that have them."""
    values: dict[str, set[str]] = {}
    for each in found:
        for name, value in each.items():
            values.setdefault(name, set()).add(json.dumps(value, default=str))
    return [name for name, different in values.items() if len(different) > 1]


def settings_table(found: Sequence[Variant]) -> list[dict[str, str]]:
    """A row for each setting that differs between the runs, but for the prompt: its values in each variant."""
    of_runs = {variant.name: [settings(run.recipe) for run in variant.runs] for variant in found}
    names = differing([each for runs in of_runs.values() for each in runs])
    return [
        {"setting": name} | {variant: _listed(name, runs) for variant, runs in of_runs.items()}
        for name in names
        if name not in PROMPT
    ]


def _effective(run: Run) -> dict[str, Any]:
    """The settings of a run that its variant shares."""
    found = settings(run.recipe)
    return {name: value for name, value in found.items() if not name.startswith((*PROMPT, *SEED, *WITHOUT_EFFECT))}


def _method(run: Run) -> str:
    return name_of(run.recipe.method).rpartition(":")[2]


def _named(method: str, groups: list[list[Run]]) -> list[tuple[str, list[Run]]]:
    """The variants of one method with their names.

    They are numbered where more settings than `NAMED` would be needed, or where values look equal as they are written.
    """
    effective = [_effective(group[0]) for group in groups]
    names = _distinguishing(effective)
    described = [
        ", ".join(
            [method, *(f"{name.removesuffix('.name')} {_shown(name, each[name])}" for name in names if name in each)]
        )
        for each in effective
    ]
    if len(names) > NAMED or len(set(described)) < len(groups):
        described = [f"{method}, variant {number}" for number in range(1, len(groups) + 1)]
    return list(zip(described, groups, strict=True))


def _distinguishing(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names whose values tell the mappings apart: each distinguishes more of them than those before; `FIRST` first."""
    chosen: list[str] = []
    for name in sorted(differing(found), key=_rank):
        if _number_of_values(found, [*chosen, name]) > _number_of_values(found, chosen):
            chosen.append(name)
    return chosen


def _rank(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _number_of_values(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    return len({json.dumps([each.get(name) for name in names], default=str) for each in found})


def _listed(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """The values of a setting in some runs, each once."""
    values = list(dict.fromkeys(format_value(run[name]) for run in runs if name in run))
    return ", ".join(values[:LISTED]) + (", ..." if len(values) > LISTED else "")


def _shown(name: str, value: Any) -> str:
    return Path(value).name if name == "prior.name" else format_value(value)
