"""Recipes as text: a YAML tree with a format version, complete, so that later presets change nothing of an old run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from scoredistill import own
from scoredistill.config import Config, from_plain, hints, missing_keys, nearest, shown, to_plain
from scoredistill.recipes.command import command_line
from scoredistill.recipes.kinds import method_config, name_of, scene_config
from scoredistill.recipes.recipe import Recipe
from scoredistill.recipes.tree import read_tree, write_tree

FORMAT = 1
"""To be raised when a recipe written before could not be read right any more."""

ADDED: dict[str, Any] = {
    "output.preview_every": 0,
    "output.log": [],
    "training.updates": 1,
    "training.early_share": 0.0,
    "training.early_batch": 1,
    "training.early_resolution": 4096,
    "views.evaluation_radius": 0.0,
    "views.evaluation_fov_deg": 0.0,
    "scene.tint": [0.0, 0.0, 0.0],
    "scene.descent": 0.0,
    "scene.falling": True,
    "scene.occupancy_threshold": 1e-3,
    "scene.least_alpha": 0.0,
    "scene.lambert.spread": 1.0,
    "scene.lambert.ambient_min": 0.1,
    "scene.lambert.ambient_max": 0.1,
    "method.learner_start": "prior",
    "method.perp_neg_factor": 1.0,
}
"""Settings that recipes of this format did not always hold, with the values that mean what happened without them."""


def write_recipe(recipe: Recipe) -> str:
    """The recipe as YAML; `read_recipe` is its inverse."""
    tree: dict[str, Any] = {"format": FORMAT}
    for field in fields(recipe):
        node: Config = getattr(recipe, field.name)
        name = {"name": name_of(node)} if field.name in ("scene", "method") else {}
        tree[field.name] = name | to_plain(node)
    return write_tree(tree)


def read_recipe(text: str, where: str, folder: Path | None = None) -> Recipe:
    """The recipe that `write_recipe` wrote; ValueError in one line names what is wrong in `where`, and the way out.

    `folder` is the run folder that the recipe comes from, whose own files are never executed.
    """
    tree = read_tree(text, where)
    if not isinstance(tree, dict):
        raise ValueError(f"{where} is not the configuration of a run")
    if "format" not in tree:
        raise ValueError(f"{where} {_unversioned(tree)}")
    if type(tree["format"]) is not int or tree["format"] != FORMAT:
        raise ValueError(
            f"{where} has format {shown(tree['format'])}, this version reads format {FORMAT}: use the version of "
            "scoredistill that wrote it"
        )
    sections = {field.name: field.type for field in fields(Recipe)}
    for key in tree:
        if key not in (*sections, "format"):
            raise ValueError(f"{where} has no section {shown(key)}; {nearest(key, sections)}")
    if absent := [name for name in sections if name not in tree]:
        raise ValueError(f"{where} lacks the section {absent[0]}")
    try:
        if folder is not None:
            _refuse_code_inside(folder, tree)
        parts: dict[str, Any] = {name: _section(name, tree[name]) for name in sections}
        return Recipe(**parts)
    except (ValueError, OSError) as error:  # the name of one's own code may be no path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{where}: {reason}") from None


def _refuse_code_inside(folder: Path, tree: Mapping[str, Any]) -> None:
    """ValueError where a recipe names code inside its own run folder: a received folder must not bring code."""
    nodes = [tree[section] for section in ("method", "scene", "prior")]
    names = [str(node.get("name", "")) for node in nodes if isinstance(node, Mapping)]
    for name in filter(own.is_own, names):
        file = own.full_name(name).rpartition(":")[0]
        if Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
            raise ValueError(f"{shown(name)} lies inside the run folder: move the file out of it to use it")


def _section(name: str, plain: Any) -> Config:
    if not isinstance(plain, Mapping):
        raise ValueError(f"{name} must hold named values, got {shown(plain)}")
    plain = dict(plain)
    default: Config = getattr(Recipe(), name)
    if name in ("scene", "method"):
        kind = plain.pop("name", None)
        if not isinstance(kind, str):
            raise ValueError(f"{name} lacks its name")
        default = method_config(kind) if name == "method" else scene_config(kind)
    plain = _completed(default, plain, name)
    config = from_plain(type(default), plain, name)
    if absent := missing_keys(config, plain, name):
        raise ValueError(f"{absent[0]} is missing")
    return config


def _completed(default: Config, plain: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The tree of a configuration like `default` with the settings of `ADDED` that it lacks."""
    found = dict(plain)
    for name in hints(type(default)):
        path, node = f"{where}.{name}", getattr(default, name)
        if isinstance(node, Config) and isinstance(found.get(name), Mapping):
            found[name] = _completed(node, found[name], path)
        elif path in ADDED:
            found.setdefault(name, ADDED[path])
    return found


def _unversioned(tree: Mapping[str, Any]) -> str:
    """What to say of a configuration without a format version, as early development versions wrote it."""
    if "prompt" not in tree:
        return "is not the configuration of a run: it has no format version"
    words = []
    for name in ("prompt", "method", "scene", "prior", "preset", "seed", "steps"):
        if name in tree:
            words += [] if name == "prompt" else [f"--{name}"]
            words.append(" ".join(str(tree[name]).split()))
    again = command_line("generate", *words)
    return "was written by a development version and holds no complete recipe; start anew with: " + again
