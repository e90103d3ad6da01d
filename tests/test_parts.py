"""Parts of faces: what the renderer calls visible, the meter that learns it, its file, and the metrics of a run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scoredistill.camera import Cameras, orbit, ring
from scoredistill.evaluate import part_meter
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.judge_network import JudgeNetwork, Shape
from scoredistill.evaluate.metrics.parts import part_shares, parts_of
from scoredistill.evaluate.part_meter import SEEN, PartMeter, PartNetwork, save
from scoredistill.evaluate.report import evaluate_views
from scoredistill.toybox import BACKGROUND, Description, Toy, build, captions, render, visibility
from scoredistill.toybox.render import render_without
from scoredistill.toybox.visibility import FACES, PARTS, PIXELS

PLAIN = torch.tensor(BACKGROUND)


def toy_of(kind: str, color: str = "red") -> Toy:
    return build(Description(kind, color), np.random.default_rng(3))


def cameras(*azimuths_deg: float, elevation_deg: float = 10) -> Cameras:
    ones = torch.ones(len(azimuths_deg))
    angles = torch.deg2rad(torch.tensor(azimuths_deg))
    return orbit(angles, math.radians(elevation_deg) * ones, 2.8 * ones, math.radians(40) * ones, 64)


# ---- what is visible ----


def test_a_render_without_parts_is_that_of_the_toy_without_them() -> None:
    toy, views = toy_of("snowman"), cameras(0, 50)
    hidden = {index for index, part in enumerate(toy.parts) if part.name == "hat"}
    assert hidden
    whole, bare = render_without(toy, views, PLAIN, [(), hidden])
    rest = Toy(tuple(part for index, part in enumerate(toy.parts) if index not in hidden))
    assert torch.equal(whole.rgb, render(toy, views, PLAIN).rgb)
    assert torch.allclose(bare.rgb, render(rest, views, PLAIN).rgb, atol=1e-5)
    assert (whole.rgb - bare.rgb).abs().max() > 0.2


def test_parts_are_visible_where_the_camera_sees_them() -> None:
    front, left, back = visibility.visible(*visibility.pictures(toy_of("snowman"), cameras(0, 85, 180))).tolist()
    assert front == [True] * len(PARTS)
    assert left == [True, False, True, True, True]  # a carrot and buttons stand out in profile, one eye is hidden
    assert back == [False, False, False, True, False]


def test_a_kind_without_a_face_shows_no_part() -> None:
    whole, without = visibility.pictures(toy_of("mug"), cameras(0, 120))
    assert torch.equal(whole[:, None].expand_as(without), without)


@pytest.mark.parametrize("kind", FACES)
def test_every_kind_with_a_face_shows_both_eyes_from_the_front(kind: str) -> None:
    whole, without = visibility.pictures(toy_of(kind, "orange"), cameras(0))
    seen = dict(zip(PARTS, visibility.visible(whole, without)[0].tolist(), strict=True))
    assert seen["left eye"] and seen["right eye"]
    assert {part for part in ("nose", "hat", "buttons") if seen[part]} <= set(parts_of(kind))


# ---- the meter ----


def rgb(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_a_saved_meter_is_loaded_up_to_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PartNetwork((16, 16, 16))
    save(network, tmp_path / "parts.safetensors")
    again = PartMeter.load(tmp_path / "parts.safetensors")
    before = PartMeter(network).probabilities(rgb(3, 3, 64, 64))
    assert before.shape == (3, len(SEEN))
    assert torch.allclose(again.probabilities(rgb(3, 3, 64, 64)), before, atol=0.01)


def test_a_missing_or_other_meter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no part meter at .*absent"):
        PartMeter.load(tmp_path / "absent.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no meter of left eye, right eye"):
        PartMeter.load(tmp_path / "other.safetensors")


def test_a_face_is_as_probable_as_its_least_probable_eye() -> None:
    class Marked(PartNetwork):
        def forward(self, rgb: Tensor) -> Tensor:
            maps = torch.full((1, len(PARTS), 64, 64), 0.01)
            for part, (count, share) in enumerate([(9, 0.9), (PIXELS, 0.6), (PIXELS - 1, 0.9), (0, 0.9), (50, 0.7)]):
                maps[0, part].view(-1)[:count] = share
            return maps.logit()

    found = PartMeter(Marked()).probabilities(rgb(1, 3, 64, 64))[0]
    assert torch.allclose(found, torch.tensor([0.6, 0.9, 0.01, 0.01, 0.7]), atol=1e-5)


@pytest.mark.skipif(not part_meter.EMBEDDED.is_file(), reason="no embedded meter: run tools/train_parts.py")
def test_the_embedded_meter_sees_faces_and_misses_them() -> None:
    meter, views = PartMeter.load(), cameras(-15, 15)
    found = [visibility.pictures(toy_of(kind, "orange"), views) for kind in FACES]
    whole, blind = (torch.cat([each[index] for each in found]) for index in (0, 1))
    blind = blind[:, 0] + blind[:, 1] - whole  # without both eyes
    seen, missed = (float(meter.sees(pictures).float().mean()) for pictures in (whole, blind))
    assert seen - missed >= 0.5  # its card says how often it errs


# ---- the metrics of a run ----


class Bright(PartMeter):
    """Sees every part in a picture that is brighter than gray."""

    def __init__(self) -> None:
        pass

    def probabilities(self, rgb: Tensor) -> Tensor:
        return (rgb.mean((1, 2, 3)) > 0.5).float()[:, None].expand(-1, len(SEEN))


WORDS = ("front view", "front view", "side view", "back view")


def pictures(*brightness: float) -> Tensor:
    return torch.tensor(brightness, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 8, 8)


def test_shares_of_the_views_that_ask_for_a_face() -> None:
    shares = part_shares(Bright(), pictures(1, 0, 1, 1), "rabbit", WORDS)
    assert shares == {"face_right": 0.5, "face_behind": 1, "parts_right": 0.5}
    assert part_shares(Bright(), pictures(1, 1), "rabbit", ("side view", "back view")) == {"face_behind": 1}
    assert part_shares(Bright(), pictures(1, 0, 1, 1), "mug", WORDS) == {}
    assert parts_of("snowman") == ("face", "nose", "hat", "buttons")
    assert (parts_of("duck"), parts_of("robot"), parts_of("astronaut")) == (("face", "nose"), ("face",), ())


def test_a_run_is_asked_by_its_cameras_or_by_its_prompt() -> None:
    torch.manual_seed(0)
    judge = Judge(JudgeNetwork(Shape(len(captions.VOCABULARY), captions.CONTEXT)))
    scene = evaluate_views(judge, pictures(1, 0, 0, 1), None, "a red cat", ring(4, 8), meter=Bright())
    assert (scene["face_right"], scene["face_behind"]) == (1, 0)
    flat = evaluate_views(judge, pictures(1, 0), None, "a red cat, front view", meter=Bright())
    assert flat["face_right"] == 0.5 and "face_behind" not in flat
    assert "face_right" not in evaluate_views(judge, pictures(1, 0), None, "a red cat", meter=Bright())
    assert "face_right" not in evaluate_views(judge, pictures(1), None, "a red car, front view", meter=Bright())
