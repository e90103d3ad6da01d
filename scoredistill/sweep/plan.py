"""Which runs a sweep makes: prompts, a grid and a list of settings, and the trials that they stand for.

preset: fast                                   where all other settings come from
prompts: toybox20                              names of prompt sets, or text files
base: {training.steps: 200}                    settings of all trials
grid: {method: [sds, sdi], seed: 0..9, scene.samples: [64, 128]}
list: [{method.scale: 7.5}, {method.scale: 30, training.steps: 400}]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from scoredistill.config import Config, Seed, checked, from_plain, named, nearest, shown
from scoredistill.files import check_regular
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.presets import CHOICES, PRESETS, SHORT, recipe_of
from scoredistill.recipes.recipe import Recipe
from scoredistill.recipes.tree import read_tree, write_tree
from scoredistill.runs.names import trial_name
from scoredistill.sweep.prompt_sets import prompts_of
from scoredistill.sweep.trial import Trial
from scoredistill.sweep.values import MOST, frozen, spread

CHOSEN = ("prompt", "preset", *CHOICES)
"""Settings that choose all others; the rest are fields of the recipe."""
DOTTED = {
    "prompt": "prompt.text",
    "prior": "prior.name",
    "picture": "prompt.picture.file",
    "device": "prior.device",
    "seed": "training.seed",
    **SHORT,
}
"""The fields of the recipe that settings with short names set."""
LARGEST_PICTURE = 1 << 30  # bytes of a picture that is copied into its run folder
IN_EVERY_NAME = ("prompt", "method", "seed")


@dataclass(frozen=True)
class SweepConfig(Config):
    """Every entry of the list with every combination of the grid, over the base settings.

    Settings go by the names that `generate` has in Python: method, scene, prior, picture, device, seed; steps, batch,
    resolution, scale, negative; and every field of the recipe by its dotted name.
    """

    preset: str = "fast"
    prompts: tuple[str, ...] = ()  # names of prompt sets, or text files
    base: Mapping = field(default_factory=dict)  # settings of all trials
    grid: Mapping = field(default_factory=dict)  # the values of each setting
    list: tuple[Mapping, ...] = ()  # settings of one trial each, or of one grid each

    def check(self) -> None:
        """ValueError for an unknown preset, and for a setting that two parts set."""
        named("preset", self.preset, PRESETS)
        for settings in (self.base, self.grid, *self.list):
            for name in settings:
                _check_name(name)
        entries = [("list", name) for entry in self.list for name in entry]
        for part, name in [*entries, *(("base", name) for name in self.base)]:
            if name in self.grid:
                raise ValueError(f"{name} is in the grid and in the {part}: leave it in one of them")
        if self.prompts and any("prompt" in part for part in (self.base, self.grid, *self.list)):
            raise ValueError("prompts and prompt exclude each other: leave one of them out")
        for entry in self.list or ({},):
            _check_once([*(["prompt"] if self.prompts else []), *self.base, *self.grid, *entry])


def read_plan(text: str, where: str) -> SweepConfig:
    """The plan in a YAML file; ValueError in one line names what is wrong in `where`."""
    tree = read_tree(text, where)
    if not isinstance(tree, Mapping):
        raise ValueError(f"{where} holds no sweep: expected prompts, base, grid or list, got {shown(tree)}")
    tree = dict(tree)
    if isinstance(tree.get("prompts"), str):
        tree["prompts"] = [tree["prompts"]]
    return from_plain(SweepConfig, tree, where)


def combined(
    plan: SweepConfig, axes: Mapping[str, Any], *, prompts: tuple[str, ...] = (), preset: str = ""
) -> SweepConfig:
    """The plan with other prompt sets, another preset, and further settings in its grid, in place of its own."""
    replaced = {_field(name) for name in (*axes, *(["prompt"] if prompts else []))}
    base, grid = (
        {name: part[name] for name in part if _field(name) not in replaced} for part in (plan.base, plan.grid)
    )
    sets = prompts or (() if "prompt" in axes else plan.prompts)
    return replace(plan, preset=preset or plan.preset, prompts=sets, base=base, grid=grid | dict(axes))


def with_prompts(plan: SweepConfig) -> SweepConfig:
    """The plan with the prompts of its sets written out in its grid, as the first setting."""
    if not plan.prompts:
        return plan
    return replace(plan, prompts=(), grid={"prompt": prompts_of(plan.prompts)} | dict(plan.grid))


def write_plan(plan: SweepConfig) -> str:
    """A plan without prompt sets as YAML; `read_plan` is its inverse."""
    return write_tree(
        {"preset": plan.preset, "base": dict(plan.base), "grid": dict(plan.grid), "list": list(map(dict, plan.list))}
    )


def trials(plan: SweepConfig, folder: Path) -> list[Trial]:
    """The trials of a plan, in folders of their own within `folder`; of the grid the last setting changes fastest.

    A folder is named after prompt, method, seed and what varies: settings of the list, and of the grid with two values.
    ValueError in one line if a trial has a value that its recipe does not allow, if two have the same settings, or for
    none or too many.
    """
    entries = plan.list or ({},)
    grid = {name: spread(name, values) for name, values in with_prompts(plan).grid.items()}
    count = len(entries) * math.prod(map(len, grid.values()))
    if count > MOST:
        raise ValueError(f"the sweep has {count:,} trials, at most {MOST:,} are possible: divide it")
    fixed = {name for name, values in grid.items() if len(values) == 1}
    found: dict[str, Trial] = {}
    for entry, values in product(entries, product(*grid.values())):
        varied = {**entry, **dict(zip(grid, values, strict=True))}
        recipe = _described(plan, varied, f"trial {len(found) + 1} of {count}")
        name = _name(recipe, {field: value for field, value in varied.items() if field not in fixed})
        if name.casefold() in found:
            raise ValueError(f"the sweep has the trial {name} twice: name each value once")
        found[name.casefold()] = Trial(folder / name, recipe)
    return list(found.values())


def _described(plan: SweepConfig, varied: Mapping[str, Any], where: str) -> Recipe:
    """The recipe of a trial; ValueError says of which trial."""
    try:
        return _recipe({"preset": plan.preset, **plan.base, **varied})
    except ValueError as error:
        about = ", ".join(f"{name} {shown(value)}" for name, value in varied.items())
        raise ValueError(f"{where}{f' ({about})' if about else ''}: {error}") from None


def _recipe(settings: dict[str, Any]) -> Recipe:
    for name in CHOSEN:
        if name in settings:
            checked(name, Seed if name == "seed" else str, settings[name])
    prompt, preset = settings.pop("prompt", ""), settings.pop("preset")
    if settings.get("picture"):
        picture = Path(settings["picture"]).absolute()
        check_regular(picture, LARGEST_PICTURE)
        settings["picture"], prompt = str(picture), prompt or picture.stem
    if not prompt.strip():
        raise ValueError(
            "no prompt: name a prompt set, as in --prompts toybox20, or prompts, as in --set prompt='a cat'"
        )
    return recipe_of(prompt, preset, {name: frozen(value) for name, value in settings.items()})


def _name(recipe: Recipe, varied: Mapping[str, Any]) -> str:
    others = {name: value for name, value in varied.items() if name not in IN_EVERY_NAME}
    return trial_name(recipe.prompt.text, name_of(recipe.method), recipe.training.seed, others)


def _field(name: str) -> str:
    """The field of the recipe that a setting sets, by its dotted name where it has one."""
    return DOTTED.get(name, name)


def _check_once(names: Sequence[str]) -> None:
    """ValueError for a field that is set by its short name and by its dotted one: only one could count."""
    known: dict[str, str] = {}
    for name in names:
        if (other := known.setdefault(_field(name), name)) != name:
            raise ValueError(f"{other} and {name} are the same setting: leave one of them out")


def _check_name(name: str) -> None:
    """ValueError with the nearest names for a setting that no recipe has."""
    sections = [section.name for section in fields(Recipe)]
    if name in (*CHOSEN, *SHORT) or (name.partition(".")[0] in sections and "." in name):
        return
    raise ValueError(
        f"unknown setting {shown(name)}; {nearest(name, [*CHOSEN, *SHORT, *(f'{s}.*' for s in sections)])}"
    )
