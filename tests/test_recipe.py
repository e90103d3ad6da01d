"""The recipe: presets return it complete, YAML holds all of it, and what does not fit is named."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoredistill.config import CarriedTime, Config, Range, from_plain, hints, to_plain
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.ism import ISM
from scoredistill.methods.method import MethodConfig, carried_time
from scoredistill.methods.sdi import SDI
from scoredistill.recipes.build import build_scene, build_views
from scoredistill.recipes.command import command
from scoredistill.recipes.fast import fast
from scoredistill.recipes.kinds import SCENES
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import Recipe, changed, different
from scoredistill.recipes.text import read_recipe, write_recipe
from scoredistill.scenes.nerf import NerfConfig
from scoredistill.schedule import cosine, scaled_linear
from scoredistill.toybox.render import BACKGROUND

PRIORS = ("toybox", "toybox-mv", "toybox-pose", "sd", "sd3", "mvdream", "zero123")
PICTURED = ("toybox-pose", "zero123")


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_recipe_survives_its_file(preset: str, prior: str) -> None:
    """Every method with every preset, prior and scene: any two of the last three together."""
    picture = "/nowhere/toy.png" if prior in PICTURED else ""
    first = PRIORS.index(prior) + list(PRESETS).index(preset)
    for method, scene in zip(METHODS, itertools.islice(itertools.cycle(SCENES), first, None), strict=False):
        recipe = PRESETS[preset]("a red car", method=method, scene=scene, prior=prior, picture=picture, device="cpu")
        assert read_recipe(write_recipe(recipe), "here") == recipe
        assert all(value is not None for value in leaves(recipe)), "a preset leaves no gaps"


def leaves(config: Config) -> list[object]:
    values = [getattr(config, name) for name in hints(type(config))]
    return [leaf for value in values for leaf in (leaves(value) if isinstance(value, Config) else [value])]


def test_an_edited_preset_changes_nothing_of_a_recipe_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_recipe(fast("a red car"))
    before = read_recipe(text, "here")
    edited = lambda *args, **choices: changed(fast(*args, **choices), "scene.samples", 7)  # noqa: E731
    monkeypatch.setitem(PRESETS, "fast", edited)
    monkeypatch.setattr(SDI, "TOYBOX", {"scale": 99.0})
    assert read_recipe(text, "here") == before
    assert before.scene.samples == NerfConfig().samples  # type: ignore[attr-defined]
    assert before.method.scale == 2.5  # type: ignore[attr-defined]


def test_times_are_carried_for_toybox_and_official_for_published_models() -> None:
    toybox, published = fast(prior="toybox").method, fast(prior="sd", device="cpu").method
    assert isinstance(toybox, SDI) and isinstance(published, SDI)
    assert (published.t_max, published.t_min, published.scale) == (0.98, 0.25, 7.5)
    assert (toybox.t_max, toybox.t_min) == (carried_time(0.98), carried_time(0.25))
    assert toybox.reduction == published.reduction == "mean_over_latent"


@pytest.mark.parametrize("t", [0.02, 0.25, 0.5, 0.98])
def test_carried_times_have_equal_noise(t: float) -> None:
    """sigma / alpha of Toybox at the carried time is the last one in its table not above Stable Diffusion's at t."""
    one = torch.zeros(1, dtype=torch.float64)
    wanted = scaled_linear().sbar(torch.tensor([t]), one)
    here = torch.tensor([carried_time(t)], dtype=torch.float64)
    assert cosine().sbar(here, one) <= wanted < cosine().sbar(here + 1e-3, one)


def test_cameras_have_the_resolution_of_the_run() -> None:
    recipe = changed(fast("a red car"), "training.resolution", 20)
    cameras = build_views(recipe)(0.0, 3, torch.Generator())
    assert cameras is not None
    assert (len(cameras), cameras.height) == (3, 20)


def test_early_steps_may_have_more_views_of_fewer_pixels() -> None:
    """Never fewer views than late ones, and never more pixels: --batch and --resolution bound both."""
    recipe = PRESETS["paper"]("a red car", prior="mvdream", method="mvdream", device="cpu")

    def sizes(recipe: Recipe) -> list[tuple[int, int]]:
        views = build_views(recipe, 4)
        made = [views(progress, recipe.training.batch, torch.Generator()) for progress in (0.49, 0.5)]
        return [(len(cameras), cameras.height) for cameras in made]

    assert sizes(recipe) == [(8, 64), (4, 256)]
    small = changed(changed(recipe, "training.resolution", 16), "training.batch", 12)
    assert sizes(small) == [(12, 16), (12, 16)]


def test_seeds_differ_and_repeat() -> None:
    starts = [build_scene(fast("a red car", scene="image", seed=seed)).pixels for seed in (0, 1, 0)]
    assert torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0][0], starts[0][1])


@pytest.mark.parametrize("scene", ["nerf", "splats"])
def test_regularizers_are_weighted_by_the_norm_of_the_methods_gradient(scene: str) -> None:
    """ISM's gradient is a thirtieth of SDI's: so are the losses beside it; SDI and SDS have the preset's own."""
    ism, sdi, sds = (fast(method=method, scene=scene).scene for method in ("ism", "sdi", "sds"))
    assert ism.regularizers.sparsity.end == pytest.approx(ISM.gradient_norm * sdi.regularizers.sparsity.end)  # type: ignore[attr-defined]
    assert ism.regularizers.convexity.start == pytest.approx(0.03 * sdi.regularizers.convexity.start)  # type: ignore[attr-defined]
    assert sds == sdi


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.steps", 0, r"steps must be in \[1, 1e\+07\], got 0"),
        ("training.steps", 2.5, "steps must be int, got 2.5"),
        ("training.stepz", 3, "has no setting 'stepz'; nearest known: steps"),
        ("training.steps.more", 3, "steps is a single value and has no setting 'more'"),
        ("training.background", "grey", "unknown background 'grey'; nearest known: gray"),
        ("method.scale", float("nan"), r"scale must be in \[0, 1000\], got nan"),
        ("method.scale", "much", "scale must be float, got 'much'"),
        ("method.weight", "sbarr", "unknown weight 'sbarr'; nearest known: sbar"),
        ("method.t_min", 0.99, "t_min must not exceed t_max, got 0.99 and 0.951"),
        ("method.t_max", -1.0, r"t_max must be in \[0, 1\]"),
        ("scene.lr_grid", -1.0, "lr_grid must be"),
        ("views.radius_min", 9.0, "radius_min must not exceed radius_max"),
        ("training.seed", 2**63, "seed must be in"),
        ("training.steps", 10**400, "steps must be in"),
        ("method.scale", 10**400, "scale must be float"),
        ("method.scale", True, "scale must be float, got true"),
        ("method.scale", "x" * 500, r"got 'x{96}\.\.\.$"),
        ("prompt.text", "a \udcff", "text must be UTF-8 text"),
        ("prompt.text", "a" * 10_001, "text must be at most 10,000 characters long, got 10,001"),
        ("prior.front_deg", 150.0, "front_deg and back_deg must not exceed 180 together, got 150 and 45"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(path: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        changed(fast("a red car"), path, value)
    assert "\n" not in str(error.value)


def numeric_fields() -> list[tuple[Config, str]]:
    """Every number of every configuration that a recipe may hold."""
    recipes = [fast(scene=scene, method=method) for scene in SCENES for method in METHODS]
    found = {(type(config), name): (config, name) for recipe in recipes for config, name in numbers(recipe)}
    return list(found.values())


@pytest.mark.parametrize("method", METHODS)
def test_ranges_of_time_are_ordered(method: str) -> None:
    """Where a method has a first and a last time, the first may not exceed the last."""
    config, known = fast(method=method).method, hints(METHODS[method])
    for low, high in (("t_min", "t_max"), ("t_min", "t_max_late"), ("t_min_start", "t_max"), ("t_end", "t_start")):
        if low in known and high in known and getattr(config, "form", "") != "paper":
            with pytest.raises(ValueError, match="must not exceed"):
                replace(config, **{low: 0.9, high: 0.1})


@pytest.mark.parametrize(
    ("scene", "low", "high"),
    [("splats", "begin", "until"), ("splats", "faint", "reset_to"), ("nerf", "coarsest", "finest")],
)
def test_what_comes_in_order_is_ordered(scene: str, low: str, high: str) -> None:
    part = fast(scene=scene).scene
    part = part.densify if scene == "splats" else part.grid  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=f"{low} must not exceed {high}"):
        replace(part, **{low: 200, high: 100} if isinstance(getattr(part, low), int) else {low: 0.2, high: 0.1})


def numbers(config: Config) -> list[tuple[Config, str]]:
    found = []
    for name in hints(type(config)):
        value = getattr(config, name)
        if isinstance(value, Config):
            found += numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((config, name))
    return found


@pytest.mark.parametrize(
    ("config", "name"), numeric_fields(), ids=lambda each: each if isinstance(each, str) else type(each).__name__
)
def test_every_number_states_its_range(config: Config, name: str) -> None:
    """NaN, infinities, what lies outside and what is no number are refused, naming the field."""
    rules = [rule for rule in getattr(hints(type(config))[name], "__metadata__", ()) if isinstance(rule, Range)]
    assert rules, f"{type(config).__name__}.{name} states no range"
    for value in (float("nan"), float("inf"), -float("inf"), -1e300, 1e300, 2**70, -(2**70), 10**400, "", None, True):
        with pytest.raises(ValueError, match=name):
            changed(config, name, value)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(list(hints(SDI))), st.floats() | st.integers() | st.text() | st.none()))
def test_any_tree_is_read_or_refused_in_one_line(values: dict[str, object]) -> None:
    try:
        config = from_plain(SDI, values, "method")
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert from_plain(SDI, to_plain(config), "method") == config


def test_the_command_of_a_recipe_makes_it_again() -> None:
    recipe = changed(changed(fast("a red car", method="dsd", seed=3), "training.steps", 12), "method.delta", 0.25)
    words = command(recipe)
    assert words.startswith(
        "scoredistill generate 'a red car' --method dsd --scene nerf --prior toybox-mv --preset fast"
    )
    assert "--steps 12" in words and "--method.delta 0.25" in words and "--seed 3" in words
    paper = PRESETS["paper"]("a red car", prior="toybox")
    assert "--preset paper" in command(paper)


def test_differences_are_dotted_paths() -> None:
    recipe = fast("a red car")
    other = changed(changed(recipe, "scene.grid.levels", 3), "prompt.text", "a blue car")
    assert different(recipe, other) == ["prompt.text", "scene.grid.levels"]
    assert different(recipe, fast("a red car", method="sds")) == ["method"]


def test_carried_times_are_marked_on_every_method() -> None:
    for kind in METHODS.values():
        marked = {
            name
            for name, hint in hints(kind).items()
            if any(isinstance(r, CarriedTime) for r in getattr(hint, "__metadata__", ()))
        }
        assert {name for name in hints(kind) if name.startswith(("t_min", "t_max"))} <= marked
    assert issubclass(SDI, MethodConfig)


@pytest.mark.parametrize("method", METHODS)
def test_negative_prompt_and_view_prompting_belong_to_published_models(method: str) -> None:
    published, toybox = (fast(method=method, prior=prior, device="cpu") for prior in ("sd", "toybox"))
    assert published.prompt.negative == METHODS[method].negative_prompt
    assert published.prior.view_prompting == METHODS[method].view_prompting
    assert toybox.prompt.negative == ""
    assert toybox.prior.view_prompting == "words"


def test_what_the_papers_state_for_published_models() -> None:
    prompted = {name for name in METHODS if METHODS[name].negative_prompt}
    assert prompted == {"nfsd", "csd", "ism", "mvdream", "cfd"}
    prompting = {name: kind.view_prompting for name, kind in METHODS.items() if kind.view_prompting != "words"}
    perp_neg = dict.fromkeys(("csd", "sdi", "dsd", "asd"), "perp-neg")
    assert prompting == {"sjc": "prefix", "ism": "interpolated", **perp_neg}
    assert {name for name in METHODS if METHODS[name].front_deg == 30} == {"vsd", "esd", "asd", "csd", "cfd"}


def test_scenes_are_rendered_over_the_background_of_the_priors_training() -> None:
    """Toybox's own color, gray for published models, a learned environment in `paper`, white for pictures."""

    def environment(recipe: Recipe) -> object:
        assert isinstance(recipe.scene, NerfConfig)
        return recipe.scene.environment

    assert fast().training.background == "toybox"
    assert BACKGROUND == (0.18, 0.55, 0.60)
    assert fast(prior="sd", device="cpu").training.background == "gray"
    official = PRESETS["paper"](prior="sd", method="dsd", device="cpu")
    assert environment(official).learned and environment(official).random_share == 0.5  # type: ignore[attr-defined]
    assert not environment(PRESETS["paper"]()).learned  # type: ignore[attr-defined]
    zero123 = PRESETS["paper"](prior="zero123", picture="/nowhere/toy.png", device="cpu")
    assert zero123.training.background == "white" and not environment(zero123).learned  # type: ignore[attr-defined]


def test_a_file_in_the_working_directory_is_named_by_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def mine(query, x):\n    raise NotImplementedError\n")
    monkeypatch.chdir(tmp_path)
    recipe = fast("a red car", method="mine.py:mine")
    assert f"{tmp_path / 'mine.py'}:mine" in write_recipe(recipe)
    assert read_recipe(write_recipe(recipe), "here") == recipe
