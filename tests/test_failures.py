"""The meters of failures: closed forms in float64, true toys, which have none, and toys that are broken on purpose."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import ToyScene, dented, flattened, two_faced

from scoredistill.camera import ring
from scoredistill.evaluate.geometry import Shape, family
from scoredistill.evaluate.judge import Judge
from scoredistill.export.sheet import Sheet
from scoredistill.recipes.presets import PRESETS
from scoredistill.studies import SCENE_STUDIES
from scoredistill.studies.failures import FAILURES, failures, hollowness, stray, thickness
from scoredistill.studies.finished import Finished
from scoredistill.studies.scene_conduct import Found, Runs
from scoredistill.studies.scene_measures import Meter
from scoredistill.studies.sdi_failures import examples
from scoredistill.toybox import BACKGROUND, Description, Toy, build

FAMILY = 2  # toys that results are compared with here

JUDGE = Judge.load()
FAMILIES: dict[str, list[Shape]] = {}


def toy(kind: str) -> Toy:
    """One that no family holds."""
    return build(Description(kind, "blue"), np.random.default_rng(11))


def failed(kind: str, scene: ToyScene) -> dict[str, float]:
    """What the meters say of a scene of which the caption is of this kind."""
    prompt = f"a blue {kind}"
    recipe = PRESETS["study"](prompt, prior="toybox")
    if prompt not in FAMILIES:
        FAMILIES[prompt] = family(prompt, FAMILY)
    rgb = scene.render(ring(8, 64), torch.tensor(BACKGROUND)).rgb.clamp(0, 1)
    values = {"diverged": 0.0} | Meter(JUDGE).front_behind(recipe, scene)
    return failures(Finished(Path(), recipe, scene, JUDGE, FAMILIES[prompt], rgb, values))


def test_the_thickness_of_a_block_s_corners_is_the_ratio_of_its_sides() -> None:
    """Along each axis the corners stand half a side from the middle; turning changes nothing."""
    corners = torch.cartesian_prod(*(torch.tensor([-side, side], dtype=torch.float64) for side in (0.4, 0.2, 0.1)))
    turn = torch.linalg.qr(torch.arange(9, dtype=torch.float64).reshape(3, 3) + torch.eye(3)).Q
    assert thickness(corners) == pytest.approx(0.25, abs=1e-12)
    assert thickness(corners @ turn.T + 0.3) == pytest.approx(0.25, abs=1e-12)


def test_a_pit_makes_a_block_hollower_by_its_share() -> None:
    """No silhouette changes, so what is filled falls by the pit's volume and the hull stays."""
    solid = torch.zeros(24, 24, 24, dtype=torch.bool)
    solid[4:20, 4:20, 4:20] = True
    before = hollowness(solid)
    solid[8:16, 8:16, 14:20] = False
    assert before < 0.2
    assert (1 - hollowness(solid)) / (1 - before) == pytest.approx(1 - 8 * 8 * 6 / 16**3, abs=1e-12)


def test_stray_views_are_those_of_another_kind_than_most() -> None:
    assert stray(["cat", "cat", "car", "cat"]) == 0.25
    assert stray(["cat"]) == 0


@pytest.mark.parametrize("kind", ["cat", "car"])
def test_a_true_toy_is_sound(kind: str) -> None:
    found = failed(kind, ToyScene(toy(kind)))
    assert {name: found[name] for name in FAILURES} == dict.fromkeys(FAILURES, 0)
    assert found["sound"] == 1


def test_a_toy_with_its_front_behind_has_two_fronts() -> None:
    found = failed("cat", ToyScene(two_faced(toy("cat"))))
    assert found["janus"] == 1 and found["sound"] == 0
    assert found["drift"] == found["hollow"] == 0


def test_a_toy_pressed_flat_is_a_billboard() -> None:
    found = failed("cat", ToyScene(flattened(toy("cat"), 0.1)))
    assert found["flat"] == 1 and found["sound"] == 0
    assert math.isnan(found["hollow"])


def test_a_dented_toy_is_hollow_and_a_ball_has_no_front_to_have_twice() -> None:
    whole, broken = toy("soccer ball"), dented(toy("soccer ball"), 0.6)
    found, after = failed("soccer ball", ToyScene(whole)), failed("soccer ball", ToyScene(broken))
    assert (found["hollow"], after["hollow"]) == (0, 1)
    assert math.isnan(after["janus"]) and after["flat"] == 0


def test_a_toy_that_is_another_one_from_elsewhere_drifts() -> None:
    found = failed("cat", ToyScene(toy("cat"), toy("mushroom"), lambda azimuth: azimuth.cos() > 0.1))
    assert found["drift"] == 1


def test_a_diverged_run_fails_in_no_other_way() -> None:
    recipe = PRESETS["study"]("a blue cat", prior="toybox")
    shape = Shape(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(4, 4, 4, dtype=torch.bool))
    run = Finished(Path(), recipe, None, JUDGE, [shape], torch.zeros(1, 3, 64, 64), {"diverged": 1.0})
    vars(run)["shape"] = shape
    found = failures(run)
    assert found["diverged"] == 1 and found["sound"] == 0
    assert all(math.isnan(found[name]) for name in FAILURES[:-1])


def test_a_sheet_shows_the_first_run_with_each_failure() -> None:
    study = SCENE_STUDIES["sdi_failures"]
    runs = Runs(study, {"sdi": {}, "sds": {}}, ["a red car", "a blue cat"], 1)
    values = {name: {"janus": torch.tensor([[0.0], [own]])} for name, own in (("sdi", 1.0), ("sds", 0.0))}
    views = {name: torch.rand(2, 1, 8, 3, 16, 16) for name in runs.arms}
    sheets = examples(Found(runs, values, views, {}))
    assert list(sheets) == ["Runs that failed: janus"]
    (sheet,) = sheets.values()
    assert isinstance(sheet, Sheet) and list(sheet.rows) == ["sdi: a blue cat, 1 runs"]
    torch.testing.assert_close(sheet.pictures[0, 0, :, :16, :16], views["sdi"][1, 0, 0])
