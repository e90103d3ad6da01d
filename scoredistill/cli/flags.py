"""The recipe as flags: a dozen short ones, and a dotted one for every other field of the tree."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import DisallowNone

from scoredistill.cli.words import flag_value, given_flags
from scoredistill.config import named, shown
from scoredistill.priors.load import full_prior_name
from scoredistill.recipes.kinds import name_of
from scoredistill.recipes.presets import PRESETS, SHORT
from scoredistill.recipes.recipe import Recipe, changed, different

CHOICES = {"method": "sdi", "scene": "nerf", "prior": "auto", "preset": "fast", "device": "auto", "image": ""}
SAME = {"seed": "training.seed", "prior": "prior.name", "device": "prior.device", "image": "prompt.picture.file"}
"""Flags by which the preset is chosen, and the dotted forms of the same settings."""
SIMILAR = ("Perhaps you meant", "Arguments similar to")  # how tyro introduces the flags that were meant
REWORDED = (
    (r"^(?:(?:Value|Parsing) error )?(?:-+ )?", ""),
    (r" Argument helptext: .*", ""),
    (r"^(Unrecognized options) \1:", r"\1:"),  # the title of the box, and its text
    (r"^Error parsing (--\S+): .*with base 10: (.*)$", r"\1 must be a whole number, got \2"),
    (r"^Error parsing (--\S+): .*to float: (.*)$", r"\1 must be a number, got \2"),
    (r"^Error parsing (--\S+): .*: \[(.*)\] does not match choices \((.*?),?\)$", r"\1 must be among \3, got \2"),
    (r"^.*nvalid choice ('.*') for argument '(.*)'\. Expected one of \((.*?),?\)$", r"\2 must be among \3, got \1"),
    (r"^(--\S+ must be among .*?)(?:'None', |, 'None')", r"\1"),  # of an empty list
    (r"^Error parsing [A-Z]\w*: ", ""),  # a command's own fields
    (r"^Error parsing (\w+?)[_-]*: ", r"--\1: "),
)
"""Patterns of tyro's complaints, and what stands for them in one line."""
SECTIONS = [section.name for section in fields(Recipe)]


def initial_recipe(arguments: Sequence[str], fixed_scene: str, read: Any) -> Recipe:
    """The recipe that flags then modify: that of --config, or of the preset for the chosen method, scene and prior."""
    _check_same(arguments)
    given = {name: flag_value(arguments, f"--{name}") for name in (*CHOICES, "seed", "config")}
    if fixed_scene and given["scene"] not in (None, fixed_scene):
        raise ValueError(f"this command makes the scene {fixed_scene!r} only: leave out --scene, or use generate")
    if given["config"] is not None:
        return _from_config(read(Path(given["config"])), given, fixed_scene)
    chosen = {name: default if (value := given[name]) is None else value for name, default in CHOICES.items()}
    if chosen["image"]:
        chosen["image"] = str(Path(chosen["image"]).absolute())
    make = named("preset", chosen["preset"], PRESETS)
    return make(
        method=chosen["method"],
        scene=fixed_scene or chosen["scene"],
        prior=chosen["prior"],
        picture=chosen["image"],
        device=chosen["device"],
        seed=_seed(given["seed"]) or 0,
    )


def with_dotted_flags(command: type[Any], recipe: Recipe) -> type[Any]:
    """A command's dataclass with one dotted flag for every field of the recipe."""
    dotted = [
        (f"{name}_", Annotated[type(getattr(recipe, name)), tyro.conf.arg(name=name)], field(default=node))
        for name, node in ((name, getattr(recipe, name)) for name in SECTIONS)
    ]
    described = {"__doc__": command.__doc__, "__module__": command.__module__}  # where tyro finds the other comments
    return make_dataclass(command.__name__, dotted, bases=(command,), frozen=True, namespace=described)


def recipe_of(command: Any, initial: Recipe) -> Recipe:
    """The recipe of a parsed command; ValueError where a short flag and its dotted form contradict each other."""
    recipe = Recipe(**{name: getattr(command, f"{name}_") for name in SECTIONS})
    for name, path in SHORT.items():
        value = getattr(command, name, None)
        if value is None:
            continue
        if not _has(recipe, path):
            raise ValueError(f"{name_of(recipe.method)} has no setting {path.rpartition('.')[2]}, so no --{name}")
        value_of = attrgetter(path)
        if value_of(recipe) not in (value_of(initial), value):
            raise ValueError(f"--{name} and --{path} are the same setting: give one of them")
        recipe = changed(recipe, path, value)
    if prompt := getattr(command, "prompt", ""):
        if recipe.prompt.text not in (initial.prompt.text, prompt):
            raise ValueError("the prompt and --prompt.text are the same setting: give one of them")
        recipe = changed(recipe, "prompt.text", prompt)
    picture = recipe.prompt.picture.file
    if not picture and (idle := different(recipe.prompt.picture, initial.prompt.picture, "prompt.picture")):
        raise ValueError(f"--{idle[0].replace('_', '-')} has no effect without a picture: give one with --image")
    if picture and not recipe.prompt.text:
        recipe = changed(recipe, "prompt.text", Path(picture).stem)
    return recipe


def parse(kind: type[Any], arguments: Sequence[str], prog: str, description: str) -> Any:
    """tyro's parse of one command; ValueError in one line for arguments that it refuses."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, prog=prog, description=description, args=arguments, config=(DisallowNone,))
    except SystemExit as error:
        if not error.code:
            raise
        raise ValueError(one_line(complaint.getvalue(), prog)) from None


def one_line(box: str, prog: str) -> str:
    """tyro's complaint, framed in box characters or ASCII, as a sentence with the flags that were probably meant."""
    lines = [line.strip("│| ") for line in box.splitlines()]
    lines = [line for line in lines if line and not re.match(r"[╭╰+]", line) and "full helptext" not in line]
    stated, meant, similar = [], [], False
    for line in lines:
        rule = re.match(r"[─-]{8}", line)
        similar = line.startswith(SIMILAR) or (similar and not rule)
        if similar and line.startswith("--"):
            meant.append(re.split(r"[\s,]", line)[0])
        elif not similar and not rule:
            stated.append(line)
    words = re.sub(r"\s+", " ", " ".join(stated)).rstrip(".")
    for pattern, words_instead in REWORDED:
        words = re.sub(pattern, words_instead, words)
    if meant:
        words += f"; did you mean {' or '.join(dict.fromkeys(meant))}?"
    return f"{words}; see: {prog} --help"


def _check_same(arguments: Sequence[str]) -> None:
    """ValueError for a flag beside its dotted form, of which only one could count."""
    given = {name.removeprefix("--").replace("-", "_") for name, _ in given_flags(arguments)}
    for name, path in SAME.items():
        if {name, path} <= given:
            raise ValueError(f"--{name} and --{path} are the same setting: give one of them")


def _from_config(recipe: Recipe, given: dict[str, str | None], fixed_scene: str) -> Recipe:
    """The recipe of a file, with another method, prior, device or seed where flags name one."""
    if given["preset"]:
        raise ValueError("--preset and --config exclude each other: the file holds every setting")
    for name, current in (("scene", name_of(recipe.scene)), ("image", recipe.prompt.picture.file)):
        other = fixed_scene if name == "scene" and fixed_scene else given[name]
        if other and other != current:
            raise ValueError(f"--{name} {other} needs the settings of a preset: leave out --config")
    if given["method"] and given["method"] != name_of(recipe.method):
        recipe = replace(recipe, method=_method_like(recipe, given["method"]))
    if given["prior"]:
        recipe = changed(recipe, "prior.name", full_prior_name(given["prior"]))
    if given["device"]:
        recipe = changed(recipe, "prior.device", given["device"])
    seed = _seed(given["seed"])
    if seed is None:
        return recipe
    return changed(changed(recipe, "training.seed", seed), "training.asset_seed", seed)


def _method_like(recipe: Recipe, name: str) -> Any:
    """Another method with the settings that suit the recipe's prior, and the recipe's reduction."""
    scene = name_of(recipe.scene) if name_of(recipe.scene) in ("nerf", "splats", "image") else "nerf"
    method = PRESETS["fast"](method=name, scene=scene, prior=recipe.prior.name, device="cpu").method
    reduction = getattr(recipe.method, "reduction", None)
    return replace(method, reduction=reduction) if reduction and hasattr(method, "reduction") else method


def _seed(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--seed must be a whole number, got {shown(text)}") from None


def _has(recipe: Recipe, path: str) -> bool:
    try:
        attrgetter(path)(recipe)
    except AttributeError:
        return False
    return True
