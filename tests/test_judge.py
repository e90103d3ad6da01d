"""The judge: invariances of its network, its file, and recognition compared with an explicit sum."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scoredistill.camera import orbit
from scoredistill.evaluate import judge as judges
from scoredistill.evaluate.judge import COLORS, KINDS, VIEWS, Judge, plain, save
from scoredistill.evaluate.judge_network import JudgeNetwork, Shape
from scoredistill.toybox import captions
from scoredistill.toybox.captions import Description
from scoredistill.toybox.kinds import build
from scoredistill.toybox.render import BACKGROUND, render

SHAPE = Shape(len(captions.VOCABULARY), captions.CONTEXT, widths=[16, 16, 16, 32], text_width=16, joint=8)


@pytest.fixture
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(JudgeNetwork(SHAPE))


def random_rgb(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_features_are_unit_and_in_range(judge: Judge) -> None:
    image, text = (
        judge.image_features(random_rgb(3, 3, 64, 64)),
        judge.text_features(["a red car", "a blue fish"]),
    )
    assert image.shape == (3, 8) and text.shape == (2, 8)
    assert torch.allclose(image.norm(dim=-1), torch.ones(3)) and torch.allclose(text.norm(dim=-1), torch.ones(2))


def test_padding_does_not_change_a_caption(judge: Judge) -> None:
    network = judge.network.double()
    padded = torch.tensor([captions.tokenize("a small purple snowman, back view")])
    trimmed = padded[:, : int((padded != captions.PAD).sum())]
    assert torch.allclose(network.text(padded), network.text(trimmed), atol=1e-12)


def test_the_empty_caption_has_a_finite_feature(judge: Judge) -> None:
    assert bool(judge.text_features([""]).isfinite().all())


def test_other_sizes_are_resized_with_antialiasing(judge: Judge) -> None:
    small = random_rgb(1, 3, 8, 8)
    coarse = small.repeat_interleave(8, -1).repeat_interleave(8, -2)
    fine = small.repeat_interleave(32, -1).repeat_interleave(32, -2)
    stripes = (torch.arange(256) % 2).float().expand(1, 3, 256, 256)  # finer than 64 pixels: must become gray
    assert float(judge.image_features(coarse) @ judge.image_features(fine).T) > 0.99
    gray = judge.image_features(torch.full((1, 3, 64, 64), 0.5))
    assert torch.allclose(judge.image_features(stripes), gray, atol=0.02)


def test_features_do_not_depend_on_the_batch_size(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = random_rgb(5, 3, 64, 64)
    whole = judge.image_features(rgb)
    monkeypatch.setattr(judges, "_BATCH", 2)
    assert torch.allclose(judge.image_features(rgb), whole, atol=1e-6)


def test_loss_is_the_mean_of_both_cross_entropies(judge: Judge) -> None:
    network = judge.network.double()
    image, text = torch.nn.functional.normalize(random_rgb(2, 4, 8).double(), dim=-1)
    scores = torch.exp(network.logit_scale * image @ text.T)
    found = -torch.stack([torch.log(scores[i, i] / scores[i].sum()) for i in range(4)]).mean()
    named = -torch.stack([torch.log(scores[i, i] / scores[:, i].sum()) for i in range(4)]).mean()
    assert float(network.loss(image, text)) == pytest.approx(float(found + named) / 2, rel=1e-12)


def test_recognition_is_the_marginal_of_an_explicit_softmax(judge: Judge) -> None:
    rgb = random_rgb(2, 3, 64, 64)
    recognized, scale = judge.recognize(rgb), judge.network.logit_scale
    meanings = [(kind, color) for kind in KINDS for color in COLORS]
    joint = torch.softmax(scale * judge.similarity(rgb, [plain(*meaning) for meaning in meanings]), -1)

    def marginal(place: int, word: str) -> torch.Tensor:
        return joint[:, [meaning[place] == word for meaning in meanings]].sum(-1)

    assert torch.allclose(recognized.kind, torch.stack([marginal(0, kind) for kind in KINDS], -1), atol=1e-6)
    assert torch.allclose(recognized.color, torch.stack([marginal(1, color) for color in COLORS], -1), atol=1e-6)
    assert torch.allclose(recognized.view, torch.softmax(scale * judge.similarity(rgb, VIEWS), -1), atol=1e-6)
    assert recognized.kinds == [KINDS[int(row.argmax())] for row in recognized.kind]
    assert set(recognized.colors) <= set(COLORS) and set(recognized.views) <= set(VIEWS)


def test_retrieval_returns_the_most_similar_caption(judge: Judge) -> None:
    rgb, texts = random_rgb(3, 3, 64, 64), ["a red car", "a blue fish", "two green ducks"]
    similarity = judge.similarity(rgb, texts)
    assert judge.retrieval(rgb, texts) == [texts[int(row.argmax())] for row in similarity]


def test_a_saved_judge_is_loaded_up_to_half_precision(judge: Judge, tmp_path) -> None:
    rgb = random_rgb(2, 3, 64, 64)
    before = judge.similarity(rgb, ["a red car", "a blue fish"])
    save(judge.network, tmp_path / "judge.safetensors")
    again = Judge.load(tmp_path / "judge.safetensors")
    assert again.network.shape == SHAPE
    assert torch.allclose(again.similarity(rgb, ["a red car", "a blue fish"]), before, atol=0.01)
    assert all(value.dtype == torch.float16 for value in load_file(tmp_path / "judge.safetensors").values())


def test_a_missing_or_invalid_judge_is_an_error(judge: Judge, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"no judge at .*absent"):
        Judge.load(tmp_path / "absent.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="another vocabulary than Toybox"):
        Judge.load(tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read"):
        Judge.load(tmp_path / "torn.safetensors")


def test_an_unknown_word_is_an_error_with_suggestions(judge: Judge) -> None:
    with pytest.raises(ValueError, match="snowman"):
        judge.text_features(["a purple snowmann"])


def test_plain_captions_have_an_article() -> None:
    assert plain("cat", "orange") == "an orange cat"
    assert plain("pancakes", "brown") == "brown pancakes"


@pytest.mark.skipif(not judges.EMBEDDED.is_file(), reason="no embedded judge: run tools/train_judge.py")
def test_the_embedded_judge_recognizes_ground_truth_toys() -> None:
    rng = np.random.default_rng(123)  # toys outside both training sets
    toys = [Description(kind, COLORS[index % len(COLORS)]) for index, kind in enumerate(KINDS)]
    azimuths = torch.tensor(rng.uniform(-1, 1, (len(toys), 1)), dtype=torch.float32)  # front views
    one = torch.ones(1)
    cameras = [orbit(azimuth, 0.26 * one, 3.2 * one, 0.7 * one, 64) for azimuth in azimuths]
    frames = [
        render(build(toy, rng), camera, torch.tensor(BACKGROUND)) for toy, camera in zip(toys, cameras, strict=True)
    ]
    recognized = Judge.load().recognize(torch.cat([frame.rgb for frame in frames]).clamp(0, 1))
    kinds = [toy.kind == kind for toy, kind in zip(toys, recognized.kinds, strict=True)]
    colors = [toy.color == color for toy, color in zip(toys, recognized.colors, strict=True)]
    assert sum(kinds) >= 0.9 * len(toys) and sum(colors) >= 0.9 * len(toys)
