"""Recipes as text: whatever a valid recipe holds comes back, and anything else is refused in one line."""

from __future__ import annotations

import functools
import json
import os
import string
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scoredistill.config import Config, Range, hints
from scoredistill.methods.catalogue import METHODS
from scoredistill.recipes.fast import fast
from scoredistill.recipes.kinds import SCENES
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.recipes.text import ADDED, read_recipe, write_recipe
from scoredistill.recipes.tree import LONGEST
from scoredistill.runs.folder import RunFolder, read_config
from scoredistill.scenes.image import ImageConfig

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
VALID = write_recipe(fast("a red car"))


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Every value that an annotation allows."""
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(values_of(get_args(hint)[0]), max_size=3).map(tuple)
    for rule in getattr(hint, "__metadata__", ()):
        if isinstance(rule, Range):
            whole = hint.__origin__ is int
            return st.integers(int(rule.low), int(rule.high)) if whole else st.floats(rule.low, rule.high)
    return {str: ANY_TEXT, bool: st.booleans()}[hint]


@functools.cache
def leaves(config: Config) -> list[tuple[str, Any]]:
    """The dotted paths of all settings of a configuration, with their annotations."""

    def below(config: Config, prefix: str) -> list[tuple[str, Any]]:
        found = []
        for name, hint in hints(type(config)).items():
            value = getattr(config, name)
            found += below(value, f"{prefix}{name}.") if isinstance(value, Config) else [(prefix + name, hint)]
        return found

    return below(config, "")


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.data())
def test_a_valid_recipe_comes_back(data: st.DataObject) -> None:
    """Random values of random fields, every kind of text included, in any method and scene."""
    method, scene = data.draw(st.sampled_from(list(METHODS))), data.draw(st.sampled_from(list(SCENES)))
    recipe = fast("a red car", method=method, scene=scene)
    for path, hint in data.draw(st.lists(st.sampled_from(leaves(recipe)), max_size=6)):
        try:
            recipe = changed(recipe, path, data.draw(values_of(hint)))
        except ValueError as error:
            assert "exceed" in str(error) or path == "prior.device", "only an order may refuse a value in its range"
    assert read_recipe(write_recipe(recipe), "here") == recipe


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.data())
def test_every_text_comes_back(data: st.DataObject) -> None:
    """Line breaks, control characters, YAML's own signs, in all texts: none of it becomes a key or a comment."""
    recipe = fast("a red car", scene="splats")
    for path in [path for path, hint in leaves(recipe) if hint is str and path != "prior.device"]:
        recipe = changed(recipe, path, data.draw(ANY_TEXT))
    assert read_recipe(write_recipe(recipe), "here") == recipe


@pytest.mark.parametrize("name", ["a\nseed: 7\n", "# b", "'c\"", "d e", "\te", "ü\x85\u2028"])
def test_a_run_whose_paths_are_odd_can_be_read_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    picture = tmp_path / name / f"{name}.png"
    picture.write_bytes(b"a picture")
    recipe = fast(f"a toy\n{name}", prior="toybox-pose", picture=str(picture))
    recipe = changed(recipe, "prior.name", str(tmp_path / name / "weights.safetensors"))
    folder = RunFolder.create(recipe, tmp_path / name / "run")
    assert RunFolder.open(folder.path).recipe == folder.recipe


def test_hints_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    path = tmp_path / "my runs"
    RunFolder.create(fast("a red car"), path)
    with pytest.raises(ValueError, match="holds another run") as error:
        RunFolder.create(fast("a blue car"), path)
    assert f"scoredistill resume '{path}'" in str(error.value)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_letters, max_size=5), inner),
    max_leaves=8,
)


def one_line(text: str) -> str:
    """The complaint about a text."""
    with pytest.raises(ValueError, match=r"^here") as error:
        read_recipe(text, "here")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    return str(error.value)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.data())
def test_any_other_tree_is_refused_in_one_line(data: st.DataObject) -> None:
    tree = yaml.safe_load(VALID)
    path, _ = data.draw(st.sampled_from([*leaves(fast("a red car")), ("prompt", None), ("scene.grid", None)]))
    *above, last = path.split(".")
    functools.reduce(dict.__getitem__, above, tree)[last] = data.draw(JUNK)
    text = data.draw(st.sampled_from([yaml.safe_dump(tree), json.dumps(tree, default=str)]))
    try:
        read_recipe(text, "here")
    except ValueError as error:
        assert "\n" not in str(error)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_no_text_is_a_recipe_by_chance(text: str) -> None:
    one_line(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "an anchor or alias, 'a': write its value out (line 1)"),
        (VALID.replace("seed: 0", "seed: &s 0", 1), "an anchor or alias, 's'"),
        ("[" * 100_000, "nested deeper than 32 levels (line 1)"),
        ("a:\n" + "".join(f"{'  ' * depth}- b:\n" for depth in range(40)), "nested deeper than 32 levels"),
        ("{a: " * 3000, "nested deeper than 32 levels"),
        ("- 1\n" * 6000, "more than 5000 values (line 5000)"),
        ("x" * (LONGEST + 1), "too large: 1,000,001 characters, at most 1,000,000 are read"),
        ("1: 2\n", "a key that is no name (line 1)"),
        ("? [a, b]\n: 2\n", "a key that is no name (line 1)"),
        ("yes: 2\n", "a key that is no name"),
        (VALID.replace("  seed: 0", "  seed: 0\n  seed: 1", 1), "it names 'seed' twice (line"),
        (VALID + "format: 1\n", "it names 'format' twice"),
        (VALID.replace("seed: 0", "<<: {seed: 1}", 1), "no setting '<<'"),
        (VALID.replace("seed: 0", "seed: !!python/object/apply:os.getcwd []", 1), "it uses a tag"),
        (VALID.replace("seed: 0", "seed: !!int x", 1), "it uses a tag, 'tag:yaml.org,2002:int': leave it out"),
        (VALID.replace("seed: 0", "seed: " + "9" * 5000, 1), "is not YAML as a recipe holds it"),
        (VALID.replace("seed: 0", "seed: " + "9" * 4000, 1), "seed must be in [0, "),
        (VALID.replace("scale: 2.5", "scale: " + "9" * 400, 1), "scale must be float, got 999"),
        (VALID.replace("scale: 2.5", "scale: .inf", 1), "scale must be in [0, 1000], got inf"),
        (VALID.replace("seed: 0", "seed: 2026-11-30", 1), "seed must be int, got '2026-11-30'"),
        (VALID.replace("format: 1", "format: true", 1), "has format True"),
        (VALID.replace("text: a red car", 'text: "a\\0b"', 1), "must hold no NUL character"),
        (VALID.replace("text: a red car", 'text: "\\ud800"', 1), "must be UTF-8 text"),
        (VALID.replace("text: a red car", f"text: {'x ' * 6000}", 1), "at most 10,000 characters long"),
        (VALID.replace("name: sdi", "name: ..:x", 1), "cannot be imported"),
        (VALID.replace("name: sdi", f"name: /{'x' * 5000}.py:x", 1), "File name too long"),
        ("\0", "unacceptable character"),
        ("a: b: c", "mapping values are not allowed here (line 1)"),
        ("prompt: |\n  a\n  b\nseed: 1\n", "start anew with: scoredistill generate 'a b' --seed 1"),
    ],
)
def test_what_is_no_recipe_is_named(text: str, message: str) -> None:
    assert message in one_line(text)


FIRST = set((Path(__file__).parent / "format_1_settings.txt").read_text().split())
"""The settings that recipes of this format have held from the beginning; scenes and methods by class and name."""


def named_settings() -> dict[str, list[str]]:
    """The dotted names of all settings of recipes as they are now, by the line that `FIRST` has for each."""
    parts: dict[str, Config] = {section: getattr(Recipe(), section) for section in hints(Recipe)}
    del parts["scene"], parts["method"]
    parts |= {f"scene/{kind.__name__}": kind() for kind in SCENES.values()}
    parts |= {f"method/{name}": kind() for name, kind in METHODS.items()}
    known = {part for part in parts if any(line.startswith(f"{part}.") for line in FIRST)}  # others are new altogether
    return {part: [name for name, _ in leaves(parts[part])] for part in known}


def test_every_later_setting_has_a_value_in_recipes_without_it() -> None:
    """Else no run folder from before the setting could be opened any more."""
    later = {
        f"{part.partition('/')[0]}.{name}"
        for part, names in named_settings().items()
        for name in names
        if f"{part}.{name}" not in FIRST
    }
    assert later == set(ADDED)


@pytest.mark.parametrize("method", ["sdi", "vsd", "csd"])
@pytest.mark.parametrize("scene", SCENES)
def test_a_recipe_without_later_settings_means_what_it_meant(method: str, scene: str) -> None:
    """They are filled in with what happened without them, which is one update of the scene by each gradient."""
    recipe = changed(fast("a red car", method=method, scene=scene), "training.updates", 1)
    recipe = changed(recipe, "method.perp_neg_factor", 1.0) if method == "csd" else recipe
    recipe = replace(recipe, scene=ImageConfig()) if scene == "image" else recipe
    tree = yaml.safe_load(write_recipe(recipe))
    for name in ADDED:
        *parents, last = name.split(".")
        functools.reduce(lambda node, parent: node.get(parent, {}), parents, tree).pop(last, None)
    assert read_recipe(yaml.safe_dump(tree), "here") == changed(recipe, "output.preview_every", 0)


def test_a_recipe_is_read_from_regular_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b" " * (LONGEST + 1))
    (tmp_path / "latin").write_bytes(b"a: \xff")
    for name, message in (("pipe", "is a pipe"), (".", "is a folder"), ("large", "too large"), ("latin", "not YAML")):
        with pytest.raises(ValueError, match=message):
            read_config(tmp_path / name)
