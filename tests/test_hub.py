"""Published weights from aliases, folders and the cache of the hub, without network; one-line errors."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import tiny_pipelines
import torch
from safetensors.torch import load_file, save_file

from scoredistill.contracts import Prompt
from scoredistill.methods.guidance import guided_eps
from scoredistill.priors.diffusers.checkpoint import Checkpoint
from scoredistill.priors.diffusers.hub import ALIASES, find, published
from scoredistill.priors.diffusers.prior import DiffusersPrior, guidance_distilled
from scoredistill.priors.diffusers.scheduler import read_schedule
from scoredistill.priors.load import full_prior_name

PROMPT = "a hamburger"
REVISION, OLDER = "0" * 39 + "1", "0" * 39 + "2"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd15")
    tiny_pipelines.save("sd15", path)
    return path


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the pipeline that a test may change."""
    return Path(shutil.copytree(original, tmp_path / "pipeline"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def load(name: str | Path, **settings: Any) -> DiffusersPrior:
    return DiffusersPrior.load(str(name), dtype=torch.float32, **settings)


def answer(prior: DiffusersPrior) -> torch.Tensor:
    x_t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.5], dtype=torch.float64)
    return guided_eps(prior, x_t, t, prior.conditions(Prompt(PROMPT), None, 1), 7.5)


def complaint(name: str | Path, **settings: Any) -> str:
    """The one-line error of a load that fails."""
    with pytest.raises(ValueError) as error:
        load(name, **settings).conditions(Prompt(PROMPT), None, 1)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folder_cache_and_alias_are_the_same_prior(
    original: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By org/name, at a revision, and as the second candidate of an alias without the first; all offline."""
    tiny_pipelines.in_cache(original, cache, "org/tiny", REVISION)
    monkeypatch.setitem(ALIASES, "sd", ("gone/model", f"org/tiny@{REVISION}"))
    expected = answer(load(original))
    for name in ("org/tiny", f"org/tiny@{REVISION}", "sd"):
        assert torch.equal(answer(load(name)), expected)
    assert find("sd") == Checkpoint("org/tiny", REVISION)
    assert find(str(original)) == Checkpoint(str(original))


def test_the_error_of_an_unavailable_model_lists_all_candidates(cache: Path) -> None:
    error = complaint("sd")
    assert all(candidate in error for candidate in ALIASES["sd"])
    assert "--prior /path/to/folder" in error
    tiny_pipelines.in_cache(cache, cache, "org/tiny", REVISION)
    assert f"org/tiny@{OLDER}" in complaint(f"org/tiny@{OLDER}")


def test_a_folder_of_the_cache_is_followed_to_its_snapshot(original: Path, cache: Path) -> None:
    """The one of its main branch, or the only one; of several the error names all."""
    snapshot = tiny_pipelines.in_cache(original, cache, "org/tiny", REVISION)
    repository = snapshot.parents[1]
    assert find(str(repository)).root == snapshot
    assert full_prior_name(str(repository)) == str(snapshot)
    assert torch.equal(answer(load(repository)), answer(load(original)))
    (snapshot.parent / OLDER).symlink_to(original)
    assert find(str(repository)).root == snapshot
    (repository / "refs" / "main").unlink()
    assert f"name one of them: {snapshot}, {snapshot.parent / OLDER}" in complaint(repository)
    snapshot.unlink()
    assert find(str(repository)).root == snapshot.parent / OLDER


def test_the_error_names_the_revisions_in_the_cache(
    original: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_pipelines.in_cache(original, cache, "org/tiny", REVISION)
    monkeypatch.setitem(ALIASES, "sd15", (f"org/tiny@{OLDER}",))
    for name in ("sd15", f"org/tiny@{OLDER}"):
        error = complaint(name)
        assert f"in the cache are other revisions: --prior org/tiny@{REVISION}; " in error
    load(f"org/tiny@{REVISION}")


def test_files_of_one_model_are_of_one_revision(original: Path, folder: Path, cache: Path) -> None:
    """Those of the snapshot that the index was found in, whatever the main branch becomes meanwhile."""
    snapshot = tiny_pipelines.in_cache(original, cache, "org/tiny", REVISION)
    checkpoint = find("org/tiny")
    assert checkpoint.root == snapshot
    (snapshot.parent / OLDER).symlink_to(folder)
    (snapshot.parents[1] / "refs" / "main").write_text(OLDER)
    assert checkpoint.file("unet/config.json") == snapshot / "unet" / "config.json"


def test_aliases_are_ids_with_full_revisions() -> None:
    for candidates in ALIASES.values():
        for place, _, revision in (candidate.partition("@") for candidate in candidates):
            assert place.count("/") == 1
            assert revision == "" or (len(revision) == 40 and int(revision, 16) > 0)
    assert {"sd", "sd15", "sd21", "sd21-base", "sdxl", "sd3", "if"} <= set(ALIASES)


def test_names_of_published_models(tmp_path: Path) -> None:
    assert all(published(name) for name in ("sd", "org/name", "org/name@main", str(tmp_path)))
    assert not any(published(name) for name in ("sdx", "toybox", str(tmp_path / "none" / "there"), "a b/c"))


def test_no_pickled_weights(folder: Path) -> None:
    """A .bin file is not opened if .safetensors is missing; this one is not even readable."""
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"not a pickle")
    error = complaint(folder)
    assert "no safetensors weights of unet" in error
    assert ".bin weights are never opened" in error


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_incomplete_weights_are_refused(folder: Path, part: str) -> None:
    (path,) = (folder / part).glob("*.safetensors")
    weights = load_file(path)
    del weights[max(weights)]
    save_file(weights, path, {"format": "pt"})
    assert f"the weights of {part} lack 1 tensors" in complaint(folder)


def test_folders_with_half_precision_files_only(original: Path, folder: Path) -> None:
    """Some mirrors have the fp16 files only."""
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert torch.equal(answer(load(folder)), answer(load(original)))


def test_weights_of_older_libraries_are_read(original: Path, folder: Path) -> None:
    """Names of published text encoders start with text_model, and there is a tensor of positions."""
    (path,) = (folder / "text_encoder").glob("*.safetensors")
    weights = {"text_model." + name.removeprefix("text_model."): tensor for name, tensor in load_file(path).items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, path, {"format": "pt"})
    assert torch.equal(answer(load(folder)), answer(load(original)))


def rewrite(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_unsupported_parts(folder: Path, tmp_path: Path) -> None:
    assert "no published pipeline: it has no model_index.json" in complaint(tmp_path)
    index = folder / "model_index.json"
    rewrite(index, unet=["diffusers", "UNet3DConditionModel"])
    assert "UNet3DConditionModel, which is not supported" in complaint(folder)
    rewrite(index, unet=[None, None], transformer=["diffusers", "FluxTransformer2DModel"])
    assert "FLUX has its guidance distilled" in complaint(folder)
    rewrite(index, unet=["diffusers", "UNet2DConditionModel"], transformer=[None, None])
    rewrite(index, text_encoder=["os", "system"])
    assert "text_encoder is a system, which is not supported" in complaint(folder)


def test_schedulers_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="EDMEulerScheduler is not supported"):
        read_schedule({"_class_name": "EDMEulerScheduler"})
    with pytest.raises(ValueError, match="shift depends on the size"):
        read_schedule({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True})


def test_pure_noise_at_the_end_of_a_schedule_stays_finite() -> None:
    """Zero terminal SNR: alpha = 0 becomes 2^-12, as in diffusers' own samplers."""
    levels, _ = read_schedule({"_class_name": "DDIMScheduler", **tiny_pipelines.BETAS, "rescale_betas_zero_snr": True})
    assert float(levels.alphas[-1]) == 2.0**-12
    assert float(levels.alphas[-2]) > 2.0**-12


@pytest.mark.parametrize(
    ("name", "network", "scheduler", "reason"),
    [
        ("stabilityai/sd-turbo", {}, "EulerDiscreteScheduler", "turbo model"),
        ("ByteDance/SDXL-Lightning@main", {}, "EulerDiscreteScheduler", "lightning model"),
        ("org/plain", {"guidance_embeds": True}, "FlowMatchEulerDiscreteScheduler", "as an input"),
        ("org/plain", {"time_cond_proj_dim": 256}, "DDIMScheduler", "as an input"),
        ("org/plain", {}, "LCMScheduler", "LCMScheduler"),
        ("org/hyperreal-turbofan", {"guidance_embeds": False}, "DDIMScheduler", ""),
        ("/models/sd15", {}, "PNDMScheduler", ""),
        ("/home/turbo/lightning/sd15", {}, "PNDMScheduler", ""),
        ("/models/sd-turbo", {}, "PNDMScheduler", "turbo model"),
        ("stabilityai/sdxl-turbo@refs/pr/1", {}, "PNDMScheduler", "turbo model"),
        ("/hub/models--stabilityai--sd-turbo/snapshots/4e63672c", {}, "PNDMScheduler", "turbo model"),
    ],
)
def test_distilled_guidance_is_recognized(name: str, network: dict[str, Any], scheduler: str, reason: str) -> None:
    place, _, revision = name.partition("@")
    found = guidance_distilled(Checkpoint(place, revision or None), network, {"_class_name": scheduler})
    assert reason in found
    assert bool(found) == bool(reason)


def test_models_with_distilled_guidance_have_no_unconditional_score(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning when it is loaded; scale 1 works, another scale raises an error with the reason."""
    turbo = folder.rename(folder.with_name("sd-turbo"))
    with caplog.at_level(logging.WARNING):
        prior = load(turbo, view_prompting="perp-neg")
    assert "turbo model" in caplog.text
    conditions = prior.conditions(Prompt(PROMPT, "ugly"), None, 1)
    x_t, t = torch.randn(1, 4, 8, 8), torch.tensor([0.5], dtype=torch.float64)
    assert guided_eps(prior, x_t, t, conditions, 1.0).shape == x_t.shape
    with pytest.raises(ValueError, match="no unconditional score"):
        guided_eps(prior, x_t, t, conditions, 7.5)


def test_missing_libraries_are_one_line(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library, name in (("diffusers", str(original)), ("huggingface_hub", "sd")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            assert complaint(name).count('pip install "scoredistill[sd]"') == 1


def test_sentencepiece_files_are_read(tmp_path: Path) -> None:
    """DeepFloyd's folder holds spiece.model and no tokenizer.json."""
    import sentencepiece

    texts, part = tmp_path / "texts", tmp_path / "tokenizer"
    part.mkdir()
    texts.write_text("a hamburger\na front view\nugly blurry\n" * 20)
    settings = {"vocab_size": 22, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts), model_prefix=str(part / "spiece"), num_threads=1, **settings
    )
    (tmp_path / "model_index.json").write_text(json.dumps({"tokenizer": ["transformers", "T5Tokenizer"]}))
    found = find(str(tmp_path)).tokenizer("tokenizer")(PROMPT).input_ids
    reference = sentencepiece.SentencePieceProcessor(model_file=str(part / "spiece.model"))
    assert found == [*reference.encode(PROMPT), reference.eos_id()]


def test_tensors_of_a_part_by_name(original: Path, tmp_path: Path) -> None:
    """For networks that diffusers does not have; some are published in half precision only."""
    checkpoint = find(str(original))
    weights = checkpoint.weights("unet")
    assert torch.equal(weights["conv_in.bias"], checkpoint.network("unet", torch.float32).state_dict()["conv_in.bias"])
    with pytest.raises(ValueError, match="no safetensors weights of tokenizer"):
        checkpoint.weights("tokenizer")
    half = shutil.copytree(original, tmp_path / "half")
    (half / "unet" / "diffusion_pytorch_model.safetensors").rename(
        half / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    )
    assert torch.equal(find(str(half)).weights("unet")["conv_in.bias"], weights["conv_in.bias"])
    with pytest.raises(ValueError, match=r"has no part 'image_encoder'; it has: .*unet"):
        checkpoint.kind("image_encoder")
