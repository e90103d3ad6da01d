"""The plan of a sweep: grids and lists become trials, or one line says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scoredistill.recipes.kinds import name_of
from scoredistill.runs.names import trial_name
from scoredistill.sweep.plan import SweepConfig, combined, read_plan, trials, with_prompts, write_plan
from scoredistill.sweep.trial import Trial
from scoredistill.sweep.values import assigned, spread

ROOT = Path("sweep")


def planned(text: str) -> list[Trial]:
    return trials(read_plan(text, "plan.yaml"), ROOT)


def test_a_grid_in_order_with_names() -> None:
    found = planned("grid: {prompt: [a red car, a cat], method: [sds, sdi], seed: 0..1}\nbase: {scene.samples: 32}")
    pairs = [f"{prompt}-{method}" for prompt in ("a-red-car", "a-cat") for method in ("sds", "sdi")]
    assert [trial.name for trial in found] == [f"{pair}-{seed}" for pair in pairs for seed in (0, 1)]
    assert [trial.path.parent for trial in found] == [ROOT] * 8
    last = found[-1].recipe
    assert (last.prompt.text, name_of(last.method)) == ("a cat", "sdi")
    assert (last.training.seed, last.training.asset_seed) == (1, 1)
    assert last.scene.samples == 32  # type: ignore[attr-defined]


def test_a_list_with_a_grid_and_settings_in_names() -> None:
    text = """
prompts: toybox20
grid: {method.scale: [7.5, 30]}
list: [{training.steps: 9}, {method: sds, prior.lora: [a.st, b.st], scene.samples: 16}]
"""
    found = planned(text)
    assert len(found) == 20 * 2 * 2 and len({trial.name.lower() for trial in found}) == 80
    assert found[0].name == "a-white-croissant-sdi-0-training.steps-9-method.scale-7.5"
    assert found[1].name == "a-white-croissant-sdi-0-training.steps-9-method.scale-30"
    assert found[40].recipe.prior.lora == ("a.st", "b.st")
    assert found[40].name.startswith("a-white-croissant-sds-0-prior.lora-a.st-b.st-scene.samples-16-method.scale-7.5_")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES = st.integers(-9, 99) | st.floats(-9, 9) | st.booleans() | TEXTS | st.lists(TEXTS, max_size=2)
SETTINGS = st.dictionaries(st.sampled_from(["prior", "method.scale", "scene.scale", "scene.lr_mlp"]), VALUES)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(SETTINGS, SETTINGS)
def test_settings_that_differ_have_names_that_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    names = [trial_name("a cat", "sdi", 0, each) for each in (one, other)]
    texts = ["-".join(f"{field}-{value}" for field, value in each.items()) for each in (one, other)]
    assert (texts[0] == texts[1]) == (names[0].lower() == names[1].lower())
    for name in names:
        assert len(name.encode()) < 200 and not set(name) & set('<>:"/\\|?* \n') and name[-1] not in "-."


def test_presets_priors_and_short_names_are_settings_too() -> None:
    found = planned("grid: {prompt: a cat, preset: [fast, low-vram], scene: [nerf, splats], steps: 3}")
    assert [name_of(trial.recipe.scene) for trial in found] == ["nerf", "splats"] * 2
    assert {trial.recipe.training.steps for trial in found} == {3}
    assert found[0].name.startswith("a-cat-sdi-0-preset-fast-scene-nerf"), (
        "without the number of steps, the same in all"
    )
    assert found[0].recipe.training != found[2].recipe.training


def test_flags_replace_settings_of_the_file() -> None:
    plan = read_plan("prompts: sdi43\nbase: {seed: 3}\ngrid: {method: [sds, dsd]}", "plan.yaml")
    plan = combined(plan, {"method": ["sdi"], "seed": ["0..2"]}, prompts=("toybox20",), preset="low-vram")
    assert len(trials(plan, ROOT)) == 60
    assert (plan.preset, dict(plan.base)) == ("low-vram", {})
    assert len(trials(combined(plan, {"prompt": ["a cat"]}), ROOT)) == 3


def test_a_flag_replaces_a_setting_of_the_file_under_its_other_name() -> None:
    plan = combined(read_plan("grid: {prompt: a cat, steps: [1, 2]}", "plan.yaml"), {"training.steps": [3]})
    assert [trial.recipe.training.steps for trial in trials(plan, ROOT)] == [3]


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("scene.samples=64,128", "scene.samples", [64, 128]),
        ("training.save-every=1..3,9", "training.save_every", [1, 2, 3, 9]),
        ("scene.lit=true", "scene.lit", [True]),
        ("method.scale=7.5, 1e1", "method.scale", [7.5, 10.0]),
        ("prior.lora=[[a, b], []]", "prior.lora", [["a", "b"], []]),
        ("prompt=2..3", "prompt", ["2..3"]),
    ],
)
def test_settings_as_flags(text: str, field: str, values: list[Any]) -> None:
    found, raw = assigned(text)
    assert (found, spread(found, raw)) == (field, values)


def test_a_plan_that_is_written_reads_the_same() -> None:
    plan = with_prompts(read_plan("prompts: sdi43\ngrid: {seed: 0..9}\nlist: [{method.scale: 3}]", "plan.yaml"))
    assert read_plan(write_plan(plan), "again") == plan
    assert len(plan.grid["prompt"]) == 43 and plan.grid["seed"] == "0..9"


BAD = {
    "": "holds no sweep",
    "[1, 2]": "holds no sweep",
    "grids: {seed: 1}": "no setting 'grids'; nearest known: grid",
    "grid: {seed: 0..1}": "no prompt: name a prompt set",
    "prompts: toybox": "unknown prompt set 'toybox'",
    "grid: {prompt: a cat, scen.samples: 3}": "unknown setting 'scen.samples'; nearest known: scene",
    "grid: {prompt: a cat, metod: sds}": "unknown setting 'metod'; nearest known: method",
    "grid: {prompt: a cat, scene.sample: 3}": "trial 1 of 1 .*no setting 'sample'; nearest known: samples",
    "grid: {prompt: a cat, scene.samples: [8, 0]}": "trial 2 of 2 .*samples must be",
    "grid: {prompt: a cat, method: [sdi, sdx]}": "trial 2 of 2 .*unknown method 'sdx'",
    "grid: {prompt: a cat, seed: 3..1}": "ends before it begins: write 1..3",
    "grid: {prompt: a cat, seed: 0..999999999}": "at most 10,000",
    "grid: {prompt: a cat, seed: 0..999, training.steps: 1..999}": "999,000 trials, at most 10,000",
    "grid: {prompt: a cat, seed: []}": "seed has no value",
    "grid: {prompt: a cat, seed: [0, 0]}": "the trial a-cat-sdi-0 twice",
    "grid: {prompt: a cat, seed: x}": "seed must be int",
    "grid: {prompt: [3]}": "prompt must be str",
    "grid: {prompt: a cat}\nlist: [{prompt: a dog}]": "in the grid and in the list",
    "grid: {prompt: a cat}\nbase: {prompt: a dog}": "in the grid and in the base",
    "grid: {prompt: a cat, steps: [1, 2], training.steps: 3}": "steps and training.steps are the same setting",
    "grid: {prompt: a cat, seed: 0..1}\nbase: {training.seed: 3}": "training.seed and seed are the same setting",
    "grid: {prompt: a cat}\nlist: [{device: cpu, prior.device: cuda}]": "device and prior.device are the same",
    "grid: {prompt: a cat}\nprompts: toybox20": "exclude each other",
    "grid: {prompt: a cat}\npreset: fastest": "unknown preset 'fastest'; nearest known: fast",
    "grid: {prompt: a cat, picture: nowhere.png}": "there is no file .*nowhere.png",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_plans_that_cannot_be_run(text: str) -> None:
    with pytest.raises(ValueError, match=BAD[text]) as error:
        planned(text)
    assert "\n" not in str(error.value)


FIELDS = ["scene.samples", "method.scale", "prior.lora", "prompt.text", "training.", "scene.regularizers", "a.b", ""]
CHOICES = ["prompt", "seed", "method", "scene", "prior", "picture", "device", "steps"]
NAMES = st.sampled_from([*SweepConfig.__dataclass_fields__, *CHOICES, *FIELDS])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["sdi", "image", "0..3", "3..1", "toybox20", "a cat", "cpu", "fast", ":", "mine.py:X", "1..10000000000"]
    )
)
TREES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES, each, max_size=3), max_leaves=8
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.dictionaries(NAMES, TREES, max_size=4).map(yaml.safe_dump) | st.text(max_size=40))
def test_junk_is_refused_in_one_line(text: str) -> None:
    try:
        found = planned(text)
    except ValueError as error:
        assert str(error) and "\n" not in str(error).strip()
    else:
        assert found and len({trial.name for trial in found}) == len(found)
