"""Stable Diffusion in a single file: the prior of the folder it was made from, without network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import tiny_lora
import tiny_pipelines
import tiny_single
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from scoredistill.contracts import Needs, Prompt
from scoredistill.priors.diffusers import DiffusersPrior
from scoredistill.priors.diffusers.hub import ALIASES
from scoredistill.priors.load import describe_prior, full_prior_name, load_prior, prior_files

REVISION = "0" * 39 + "1"
FIRST = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd15")
    tiny_pipelines.save("sd15", path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def single(original: Path, tmp_path: Path) -> Path:
    """A single file alone in a folder."""
    (tmp_path / "alone").mkdir()
    return tiny_single.save(original, tmp_path / "alone" / "model.safetensors")


def settings_of(folder: Path, out: Path) -> Path:
    """A copy of a folder without its weights."""
    return Path(shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True))


def predictions(name: Path, *lora: str) -> list[Tensor]:
    """The embeddings of a prompt, eps for it, and a decoded image."""
    prior = load_prior(str(name), dtype=torch.float32, lora=lora)
    assert isinstance(prior, DiffusersPrior)
    text = prior.conditions(Prompt("a hamburger"), None, 2).text
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return [text.tokens, *prior.eps(x_t, torch.tensor([0.3, 0.7], dtype=torch.float64), text), prior.decode(x_t)]


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_a_file_in_the_folder_of_its_settings(original: Path, single: Path, cache: Path, tmp_path: Path) -> None:
    settings_of(original, single.parent)
    close(predictions(single), predictions(original))
    assert describe_prior(str(single)) == Needs(published=True, view_prompting=True)
    assert full_prior_name(str(single)) == str(single)
    files = prior_files(str(single))
    assert single in files
    assert single.parent / "tokenizer" / "tokenizer_config.json" in files
    lora = str(tiny_lora.diffusers_format(StableDiffusionPipeline.from_pretrained(original), tmp_path))
    close(predictions(single, lora), predictions(original, lora))


def test_a_file_alone_takes_the_settings_in_the_cache(original: Path, single: Path, cache: Path) -> None:
    """Of the model that it was made from, at any revision; without any the error says what to do."""
    with pytest.raises(
        ValueError, match=r"is Stable Diffusion 1\.5 in a single file, which holds no settings"
    ) as error:
        load_prior(str(single))
    assert "put it into the folder of that model" in str(error.value)
    assert "or load it once with --prior sd15" in str(error.value)
    tiny_pipelines.in_cache(original, cache, ALIASES["sd15"][0].partition("@")[0], REVISION)
    close(predictions(single), predictions(original))


def test_files_of_another_shape(original: Path, single: Path, cache: Path) -> None:
    settings_of(original, single.parent)
    tensors = load_file(single)
    out = single.with_name("out.safetensors")

    def complaint(**changed: Tensor) -> str:
        save_file({name: tensor for name, tensor in (tensors | changed).items() if tensor.ndim}, out)
        with pytest.raises(ValueError) as error:
            load_prior(str(out))
        assert "\n" not in str(error.value)
        assert str(out) in str(error.value)
        return str(error.value)

    for channels, task in {9: "inpainting", 8: "editing images"}.items():
        assert f"takes {channels} channels, not 4, as models for {task}" in complaint(
            **{FIRST: torch.zeros(4, channels, 3, 3)}
        )
    assert "does not fit the settings" in complaint(**{FIRST: torch.zeros(8, 4, 3, 3)})
    name = FIRST.replace("weight", "bias")
    assert "it lacks tensors" in complaint(**{name: torch.tensor(0.0)})
    assert "holds weights that are not finite" in complaint(**{name: torch.full((4,), float("nan"))})
    index = single.parent / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "FluxPipeline"}))
    assert "holds the settings of a FluxPipeline" in complaint()
