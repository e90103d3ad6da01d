"""Faces in training batches: how many, that they are never without their caption, where the loss is weighted."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from scoredistill.toybox import build, captions, dataset, visibility
from scoredistill.toybox.captions import Description
from tools import train_toybox
from tools.face_batches import expected_face, expected_front, nominal, shows_face
from tools.train_toybox import Batches
from tools.train_toybox_mv import Rings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views")
    dataset.make(path, 256, seed=0, views_per_toy=8, size=8, workers=1, ring=4)
    return path


def words(tokens: torch.Tensor) -> list[str]:
    return [captions.VOCABULARY[token] for token in tokens.tolist()]


def test_a_share_of_a_batch_are_captioned_front_views_of_faces(folder: Path) -> None:
    batches = Batches(folder, 20, seed=0, faces=0.4, face_weight=5)
    for _ in range(5):
        _, tokens, _, weights = batches()
        for row in map(words, tokens[:8]):
            assert "front" in row
            assert set(row) & set(visibility.FACES)
        assert bool((weights[:8].amax((1, 2, 3)) > 1).all())
        assert bool((weights[8:] == 1).all())
        assert 1 <= float(weights.max()) <= 5


def test_the_other_rows_have_the_shares_of_a_batch_without_faces(folder: Path) -> None:
    batches = Batches(folder, 1000, seed=0, faces=0.4)
    rows, faces = batches.choose(batches.probabilities, batches.shows_face, 1000)
    assert faces == 400
    assert bool(batches.shows_face[rows[:400]].all())
    composed = [batches.views.descriptions[row].composed for row in rows[400:]]
    assert sum(composed) == pytest.approx(0.4 * 600, abs=40)
    assert batches.shows_face[rows[400:]].mean() < 0.1


def test_data_without_a_face_has_none_in_its_batches(folder: Path) -> None:
    batches = Batches(folder, 10, seed=0, faces=0.4)
    _, faces = batches.choose(batches.probabilities, np.zeros_like(batches.shows_face), 10)
    assert faces == 0


def test_a_share_of_the_rings_turn_a_face_to_one_camera(folder: Path) -> None:
    batches = Rings(folder, 16, seed=0, faces=0.5, face_weight=5)
    for _ in range(5):
        _, tokens, t, _, weights = batches()
        heavy = (weights.amax((1, 2, 3)) > 1).unflatten(0, (-1, 4))
        assert heavy.sum(1).tolist() == [1, 1, 0, 0]
        for row in map(words, tokens[:8]):
            assert set(row) & set(visibility.FACES)
        assert all(len(set(ring.tolist())) == 1 for ring in t.unflatten(0, (-1, 4)))


@pytest.mark.parametrize("kind", ["rabbit", "penguin"])
def test_the_loss_is_weighted_where_the_renderer_draws_the_face(kind: str) -> None:
    """On all of its pixels where the camera is known; where only the words are, most where faces mostly are."""
    toy, camera = Description(kind, "blue"), nominal(torch.tensor([0.4]), torch.tensor([0.3]), 64)
    whole, without = visibility.pictures(build(toy, np.random.default_rng(3)), camera)
    eyes = ((whole[:, None] - without[:, :2]).abs().amax(2) > visibility.CONTRAST).any(1)[0]
    expected = expected_face(toy, camera)[0]
    assert float(expected[eyes].mean()) > 0.9
    assert float(expected.mean()) < 0.05
    front = expected_front(kind, "", 64)
    assert float(front[eyes].mean()) > 5 * float(front.mean())


def test_a_pair_of_toys_and_another_view_count_as_no_face() -> None:
    assert shows_face(Description("cat", "red"), "front view")
    assert not shows_face(Description("cat", "red"), "side view")
    assert not shows_face(Description("cat", "red", count=2), "front view")
    assert not shows_face(Description("cat", "red", on=Description("car", "blue")), "front view")
    assert not shows_face(Description("car", "red"), "front view")


def test_the_text_to_image_prior_trains_further_on_views_that_are_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, weights = tiny.prior_file(tmp_path), tmp_path / "further.safetensors"
    flags = ["--steps", "2", "--batch", "8", "--device", "cpu", "--reuse", "--data", str(folder)]
    places = ["--out", str(tmp_path / "train"), "--weights", str(weights), "--begin", str(begin)]
    monkeypatch.setattr(sys, "argv", ["train", *flags, *places])
    train_toybox.main()
    card = weights.with_suffix(".md").read_text()
    assert "| data | 256 views of 32 random toys" in card
    assert "30% of a batch are front views of a face, the loss weighted 5 times" in card
    assert f"--faces 0.3 --face-weight 5 --begin {begin} --reuse --data {folder}`" in card
