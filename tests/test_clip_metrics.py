"""CLIP metrics on tiny random weights, against transformers' own forward pass and image processor."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import tiny_pipelines
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from scoredistill.cli import main
from scoredistill.evaluate.clip import Clip
from scoredistill.evaluate.metrics.clip_iqa import PAIRS
from scoredistill.evaluate.metrics.clip_score import clip_score
from scoredistill.runs.evaluation.clip_metrics import NAMES, ClipMetrics, load_clip
from scoredistill.runs.evaluation.metric_weights import missing

PROMPT = "a hamburger"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip")
    tokenizer: Any = tiny_pipelines.clip_tokenizer(path / "vocabulary", "<|endoftext|>")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **sizes,
    )
    vision = CLIPVisionConfig(image_size=32, patch_size=8, **sizes)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    CLIPModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    """Smooth images of 8 bits."""
    coarse = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    fine = torch.nn.functional.interpolate(coarse, (80, 80), mode="bilinear")
    return (255 * fine).round() / 255


def reference(folder: Path, views: torch.Tensor, texts: list[str]) -> torch.Tensor:
    """Cosines [V N] by transformers' processor, tokenizer and forward pass."""
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    pictures = [
        Image.fromarray((255 * view).round().byte().permute(1, 2, 0).numpy().astype(np.uint8)) for view in views
    ]
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor(images=pictures, return_tensors="pt").pixel_values
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels)
    return logits.logits_per_image / model.logit_scale.exp().detach()


def test_scores_equal_transformers_own_forward_pass(folder: Path, views: torch.Tensor) -> None:
    found = ClipMetrics(load_clip(str(folder)), NAMES)(views, PROMPT)
    cosines = reference(folder, views, [PROMPT])
    assert found["clip-score"] == pytest.approx(max(100 * float(cosines.mean()), 0), abs=1e-2)
    assert found["clip-sim"] == pytest.approx(float(cosines.mean()), abs=1e-4)
    for name, pair in PAIRS.items():
        expected = (100 * reference(folder, views, list(pair))).softmax(-1)[:, 0].mean()
        assert found[f"clip-iqa-{name}"] == pytest.approx(float(expected), abs=1e-3)


def test_features_equal_transformers_to_1e_4(folder: Path) -> None:
    """At the network's own size nothing is resized, so that only the networks are compared."""
    clip = Clip.load(folder)
    views = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)).mul(255).round() / 255
    texts = [text for pair in PAIRS.values() for text in pair]
    torch.testing.assert_close(
        clip.image_features(views) @ clip.text_features(texts).T,
        reference(folder, views, texts),
        rtol=0,
        atol=1e-6,
    )


def test_a_negative_clip_score_is_zero() -> None:
    image = torch.tensor([[1.0, 0], [0.6, 0.8]])
    assert clip_score(image, torch.tensor([[1.0, 0]])) == pytest.approx(80)
    assert clip_score(image, torch.tensor([[-1.0, 0]])) == 0


def test_columns_follow_the_names(folder: Path, views: torch.Tensor) -> None:
    metrics = ClipMetrics(load_clip(str(folder)), ["clip-iqa"])
    assert metrics.columns == ["clip-iqa-quality", "clip-iqa-sharpness", "clip-iqa-real"]
    assert list(metrics(views, PROMPT)) == metrics.columns


def test_missing_weights_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"hf download openai/clip-vit-base-patch32 .*--clip FOLDER") as error:
        load_clip()
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="clip must be clip, clip-l, a folder or org/name"):
        load_clip("clp")
    with pytest.raises(ValueError, match="holds no CLIP model") as error:
        load_clip(str(tmp_path))
    assert "\n" not in str(error.value)


def test_an_unknown_metric_is_refused_before_a_run_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path), "--metric", "clip-scor"]) == 2
    assert "clip-score" in capsys.readouterr().err


def test_an_alias_is_found_in_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--openai--clip-vit-base-patch32"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    snapshot = Path(shutil.copytree(folder, place / "snapshots" / ("0" * 40)))
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(folder / "vocabulary" / name, snapshot)
    assert load_clip("clip").network.config.vision_config.image_size == 32
    assert missing("clip-score") == [] and missing("lpips")
    (snapshot / "model.safetensors").unlink()
    assert missing("clip-score")[0].startswith("hf download openai/clip-vit-base-patch32 config.json")
