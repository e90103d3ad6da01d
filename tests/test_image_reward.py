"""ImageReward on tiny random weights, against the arithmetic of the authors' code written out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny_metrics
import torch
from PIL import Image
from tiny_metrics import DEPTH, LAYERS, TEXT, WIDTH, WORDS
from torch import Tensor
from torch.nn import functional

from scoredistill.evaluate.image_reward import ImageReward
from scoredistill.runs.evaluation.measures import Measuring

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return tiny_metrics.save_image_reward(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Images of 8 bits at the network's own size."""
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)).mul(255).round() / 255


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def norm(weights: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    q, k, v = (each.unflatten(-1, (heads, -1)).transpose(0, 1) for each in (q, k, v))
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    scores = scores if mask is None else scores + (1 - mask) * -10_000.0
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def seen(weights: Weights, pixels: Tensor) -> Tensor:
    """The tokens [P + 1, W] of BLIP's ViT (pre-norm blocks, eps 1e-6)."""
    name = "blip.visual_encoder."
    kernel, bias = weights[f"{name}patch_embed.proj.weight"], weights[f"{name}patch_embed.proj.bias"]
    patches = functional.conv2d(pixels[None], kernel, bias, stride=kernel.shape[-1])[0].flatten(1).T
    x = torch.cat([weights[f"{name}cls_token"][0], patches]) + weights[f"{name}pos_embed"][0]
    for block in (f"{name}blocks.{index}" for index in range(DEPTH)):
        q, k, v = linear(weights, f"{block}.attn.qkv", norm(weights, f"{block}.norm1", x, 1e-6)).chunk(3, -1)
        x = x + linear(weights, f"{block}.attn.proj", attention(q, k, v, WIDTH // 64))
        inner = functional.gelu(linear(weights, f"{block}.mlp.fc1", norm(weights, f"{block}.norm2", x, 1e-6)))
        x = x + linear(weights, f"{block}.mlp.fc2", inner)
    return norm(weights, f"{name}norm", x, 1e-6)


def attended(weights: Weights, name: str, x: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    q, k, v = (
        linear(weights, f"{name}.self.{part}", each) for part, each in (("query", x), ("key", keys), ("value", keys))
    )
    out = linear(weights, f"{name}.output.dense", attention(q, k, v, 2, mask))
    return norm(weights, f"{name}.output.LayerNorm", out + x, 1e-12)


def reward(weights: Weights, pixels: Tensor, tokens: list[int]) -> float:
    """The authors' score: 35 tokens, BERT (post-norm) with cross-attention, the head without activations."""
    name = "blip.text_encoder."
    ids = torch.tensor(tokens + [0] * (35 - len(tokens)))
    mask = (torch.arange(35) < len(tokens)).float()
    x = weights[f"{name}embeddings.word_embeddings.weight"][ids]
    x = norm(
        weights,
        f"{name}embeddings.LayerNorm",
        x + weights[f"{name}embeddings.position_embeddings.weight"][:35],
        1e-12,
    )
    image = seen(weights, pixels)
    for layer in (f"{name}encoder.layer.{index}" for index in range(LAYERS)):
        x = attended(weights, f"{layer}.attention", x, x, mask)
        x = attended(weights, f"{layer}.crossattention", x, image, None)
        inner = functional.gelu(linear(weights, f"{layer}.intermediate.dense", x))
        x = norm(weights, f"{layer}.output.LayerNorm", linear(weights, f"{layer}.output.dense", inner) + x, 1e-12)
    first = x[0]
    for index in (0, 2, 4, 6, 7):
        first = linear(weights, f"mlp.layers.{index}", first)
    return float((first - 0.16717362830052426) / 1.0333394966054072)


def test_rewards_equal_the_authors_arithmetic(files: tuple[Path, Path, Path], images: Tensor) -> None:
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    weights = tiny_metrics.image_reward_weights()
    found = ImageReward.load(*files)(images, "A Red hamburger!")
    words = ["[CLS]", "a", "red", "ham", "##burger", "!", "[SEP]"]
    tokens = [WORDS.index(word) for word in words]
    expected = [reward(weights, (image - mean) / std, tokens) for image in images]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-5)
    assert abs(expected[0] - expected[1]) > 1e-3  # the image matters


def test_the_metric_is_the_mean_over_views(files: tuple[Path, Path, Path], images: Tensor) -> None:
    """Found by its flags, as the command line does."""
    (metric,) = Measuring(metric=("image-reward",), weights=files[0].parent).measures().views
    expected = float(ImageReward.load(*files)(images, "a red car").mean())
    assert metric(images, "a red car") == {"image-reward": pytest.approx(expected)}


def test_prompts_are_padded_or_cut_to_35_tokens(files: tuple[Path, Path, Path]) -> None:
    tokenizer = ImageReward.load(*files).tokenizer
    for words, count in ((1, 3), (50, 35)):
        found = tokenizer(" ".join(["car"] * words), padding="max_length", truncation=True, max_length=35)
        assert len(found.input_ids) == 35 and sum(found.attention_mask) == count
        assert found.input_ids[0] == WORDS.index("[CLS]") and found.input_ids[count - 1] == WORDS.index("[SEP]")
    assert tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [len(WORDS), len(WORDS) + 1]  # 30522, 30523 in BERT's


def test_pictures_are_resized_by_the_shorter_side_and_cut(files: tuple[Path, Path, Path]) -> None:
    rgb = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(3)).mul(255).round() / 255
    pixels = ImageReward.load(*files).pixels(rgb)
    picture = Image.fromarray((255 * rgb).round().byte().movedim(0, -1).numpy())
    small = picture.resize((24, 16), Image.Resampling.BICUBIC).crop((4, 0, 20, 16))
    expected = torch.from_numpy(np.array(small)).movedim(-1, 0) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    torch.testing.assert_close(pixels, (expected - mean) / std)


def test_damaged_files_are_one_line(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    weights, config, vocabulary = files
    cut = tmp_path / "cut.pt"
    cut.write_bytes(weights.read_bytes()[:2000])
    other = tmp_path / "other.pt"
    torch.save({"a": torch.zeros(1)}, other)
    unsafe = tmp_path / "unsafe.pt"
    torch.save({"a": Path("/")}, unsafe)
    lacking = tmp_path / "lacking.pt"
    torch.save({n: w for n, w in tiny_metrics.image_reward_weights().items() if "fc1" not in n}, lacking)
    text = tmp_path / "config.json"
    text.write_text(json.dumps({"hidden_size": TEXT}))
    absurd = tmp_path / "absurd.json"
    absurd.write_text(json.dumps(tiny_metrics.BERT | {"hidden_size": "wide"}))
    words = tmp_path / "vocab.txt"
    words.write_text("a\nb\n")
    for given, reason in (
        ((cut, config, vocabulary), "damaged"),
        ((other, config, vocabulary), "no file of ImageReward"),
        ((unsafe, config, vocabulary), "more than weights"),
        ((lacking, config, vocabulary), "no file of ImageReward"),
        ((weights, text, vocabulary), "no configuration"),
        ((weights, absurd, vocabulary), "no configuration"),
        ((weights, config, words), "no vocabulary"),
    ):
        with pytest.raises(ValueError, match=reason) as error:
            ImageReward.load(*given)
        assert "\n" not in str(error.value)
