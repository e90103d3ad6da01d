"""Folders of models that are incomplete, damaged or of another task: one line names the file and the remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import tiny_views
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from scoredistill.camera import ring
from scoredistill.contracts import Photo, Prompt
from scoredistill.priors.diffusers.checkpoint import Checkpoint
from scoredistill.priors.diffusers.scheduler import schedule_of
from scoredistill.priors.load import load_prior

FAMILIES = ("sd15", "sdxl", "if", "lumina2")
PROMPT = "a hamburger"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in (*FAMILIES, "mvdream", "zero123")}
    for name, folder in folders.items():
        if name in FAMILIES:
            tiny_pipelines.save(name, folder)
        else:
            getattr(tiny_views, name)(folder)
    return folders


@pytest.fixture
def copied(originals: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Makes a copy of a family's folder that a test may change."""
    return lambda family: Path(shutil.copytree(originals[family], tmp_path / family))


def use(folder: Path) -> Any:
    """Load a prior and everything that it loads later."""
    prior = load_prior(str(folder), dtype=torch.float32)
    camera = ring(4, 16)
    photo = Photo(torch.ones(3, 16, 16), torch.ones(1, 16, 16), camera[:1]) if prior.needs.picture else None  # type: ignore[attr-defined]
    return prior.conditions(Prompt(PROMPT, photo=photo), camera, 4)


def complaint(folder: Path) -> str:
    with pytest.raises(ValueError) as error:
        use(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


def edit(path: Path, **values: Any) -> None:
    """Set settings of a JSON file; ... drops one."""
    found = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in found.items() if value is not ...}))


def weights(folder: Path, part: str) -> Path:
    (path,) = (folder / part).glob("*.safetensors")
    return path


@pytest.mark.parametrize("content", ["", "[]", '{"unet": ["diffu', '"x"', "[" * 100_000, "\x00\x01"])
@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "tokenizer/vocab.json"])
def test_a_json_file_that_is_cut_off_is_named(name: str, content: str, copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    (folder / "tokenizer" / "merges.txt").touch()
    if name == "tokenizer/vocab.json":
        (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\na b\n")
    (folder / name).write_text(content)
    assert str(folder / name) in complaint(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_cut_off_or_a_pointer(part: str, copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    path = weights(folder, part)
    content = path.read_bytes()
    for damage, message in {
        content[:-1000]: "is no safetensors file, or is damaged or cut off",
        content[:100]: "is no safetensors file, or is damaged or cut off",
        b"": "is empty",
        b"version https://git-lfs.github.com/spec/v1\n": "is a Git LFS pointer",
    }.items():
        path.write_bytes(damage)
        assert f"{path} {message}" in complaint(folder)
    path.unlink()
    assert f"no safetensors weights of {part} (expected {part}/{path.name})" in complaint(folder)


def test_weights_that_do_not_fit_or_are_not_finite(copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    path = weights(folder, "unet")
    tensors = load_file(path)
    save_file(tensors | {"conv_in.bias": torch.full_like(tensors["conv_in.bias"], float("nan"))}, path)
    assert f"{folder}: unet holds weights that are not finite, in conv_in.bias" in complaint(folder)
    save_file(tensors | {"conv_in.bias": torch.zeros(3)}, path)
    assert "unet cannot be loaded: its config.json and its weights do not agree" in complaint(folder)
    save_file(tensors, path)
    edit(folder / "unet" / "config.json", down_block_types=["NoBlock"])
    assert "unet cannot be loaded: its config.json and its weights do not agree" in complaint(folder)
    (folder / "unet" / "config.json").unlink()
    assert f"there is no file {folder / 'unet' / 'config.json'}: the folder is incomplete" in complaint(folder)


def test_weights_in_several_files(copied: Callable[[str], Path]) -> None:
    """They load if all are there; one that is missing or cut off is named."""
    folder = copied("sd15")
    expected = use(folder).text.tokens
    path = weights(folder, "text_encoder")
    names, tensors = sorted(load_file(path)), load_file(path)
    path.unlink()
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for number, file in enumerate(files):
        save_file({name: tensors[name] for name in names[number::2]}, folder / "text_encoder" / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: files[number % 2] for number, name in enumerate(names)}}
    listing = folder / "text_encoder" / "model.safetensors.index.json"
    listing.write_text(json.dumps(index))
    assert torch.equal(use(folder).text.tokens, expected)
    last = folder / "text_encoder" / files[1]
    last.write_bytes(last.read_bytes()[:-4])
    assert f"{last} is no safetensors file" in complaint(folder)
    last.unlink()
    assert f"there is no file {last}: the folder is incomplete" in complaint(folder)
    for wrong in ({}, {"weight_map": []}, {"weight_map": {"a": "../../x"}}, {"weight_map": {"a": 1}}):
        listing.write_text(json.dumps(wrong))
        assert str(folder) in complaint(folder)


def test_a_damaged_file_beside_a_good_one_of_the_other_precision(copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    expected = use(folder).text.tokens
    path = weights(folder, "text_encoder")
    shutil.copy(path, path.with_name("model.fp16.safetensors"))
    path.write_bytes(path.read_bytes()[:-4])
    assert torch.equal(use(folder).text.tokens, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokenizer_without_its_files(family: str, copied: Callable[[str], Path]) -> None:
    folder = copied(family)
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "spiece.model", "tokenizer.model"):
        (folder / "tokenizer" / name).unlink(missing_ok=True)
    assert "tokenizer has no vocabulary, " in complaint(folder)
    shutil.rmtree(folder / "tokenizer")
    assert "tokenizer has no vocabulary, " in complaint(folder)


def test_a_vocabulary_of_another_model(copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    path = folder / "tokenizer" / "tokenizer.json"
    path.unlink(missing_ok=True)
    tiny_pipelines.clip_tokenizer(folder / "words2", "!").save_pretrained(folder / "tokenizer")
    use(folder)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}))
    assert "has a vocabulary of " in complaint(folder)


def test_a_tokenizer_without_a_length_takes_that_of_the_encoder(copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    expected = use(folder).text.tokens
    edit(folder / "tokenizer" / "tokenizer_config.json", model_max_length=...)
    assert torch.equal(use(folder).text.tokens, expected)
    edit(folder / "tokenizer" / "tokenizer_config.json", model_max_length=3)
    assert "has length 3: set model_max_length" in complaint(folder)


@pytest.mark.parametrize(
    ("channels", "message"),
    [(9, "as models for inpainting do"), (8, "as models for editing images (InstructPix2Pix) do"), (5, "not 4; take")],
)
def test_networks_of_another_task(channels: int, message: str, copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    edit(folder / "unet" / "config.json", in_channels=channels)
    assert f"its unet takes {channels} channels, not 4" in complaint(folder)
    assert message in complaint(folder)


def test_a_text_encoder_that_the_network_needs(copied: Callable[[str], Path]) -> None:
    folder = copied("sdxl")
    edit(folder / "model_index.json", text_encoder_2=[None, None], tokenizer_2=[None, None])
    assert "takes text features of 16 numbers, its text encoders make 8: a text encoder is missing" in complaint(folder)
    edit(folder / "model_index.json", text_encoder=[None, None])
    assert "has no part 'text_encoder'" in complaint(folder)


@pytest.mark.parametrize("size", [None, 0, -8, "64", 1e9, [64, 64], 10**9, ...])
def test_a_sample_size_that_is_none(size: Any, copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    edit(folder / "unet" / "config.json", sample_size=size)
    assert "unet/config.json has sample_size" in complaint(folder)


@pytest.mark.parametrize("value", [0, -1, "x", float("nan"), float("inf")])
def test_a_scale_of_the_latents_that_is_no_number(value: Any, copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    edit(folder / "vae" / "config.json", scaling_factor=value)
    assert "vae/config.json has scaling_factor" in complaint(folder)


SCHEDULER = "scheduler/scheduler_config.json"


@pytest.mark.parametrize(
    "values",
    [
        {"prediction_type": None},
        {"prediction_type": "noise"},
        {"prediction_type": []},
        {"beta_schedule": "exp"},
        {"beta_schedule": None},
        {"beta_start": "x"},
        {"beta_end": 2.0},
        {"beta_end": float("nan")},
        {"beta_end": -1.0},
        {"trained_betas": ["x"]},
        {"num_train_timesteps": 0},
        {"num_train_timesteps": 10**12},
        {"num_train_timesteps": "1000"},
        {"num_train_timesteps": 1000.5},
        {"use_flow_sigmas": True, "flow_shift": "x"},
        {"use_flow_sigmas": True, "flow_shift": -2.0},
        {"use_flow_sigmas": True, "flow_shift": [1]},
    ],
)
def test_settings_of_a_scheduler(values: dict[str, Any], copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    edit(folder / SCHEDULER, **values)
    assert SCHEDULER in complaint(folder)


def test_the_class_of_a_scheduler_is_that_of_the_index(copied: Callable[[str], Path]) -> None:
    folder = copied("sd15")
    edit(folder / SCHEDULER, _class_name=...)
    use(folder)
    edit(folder / "model_index.json", scheduler=["diffusers", "EDMEulerScheduler"])
    assert "EDMEulerScheduler is not supported" in complaint(folder)
    edit(folder / "model_index.json", scheduler=...)
    assert "has no part 'scheduler'" in complaint(folder)


json_values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.just([]))


@given(st.dictionaries(st.sampled_from([*tiny_pipelines.BETAS, "prediction_type", "trained_betas"]), json_values))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_any_setting_of_a_scheduler_is_a_schedule_or_one_line(values: dict[str, Any]) -> None:
    class Fake(Checkpoint):
        def settings(self, part: str, name: str = "") -> dict[str, Any]:
            return {"_class_name": "DDIMScheduler"} | tiny_pipelines.BETAS | values

    try:
        levels, _ = schedule_of(Fake("/model"))
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert bool(levels.alphas.isfinite().all())
        assert bool(levels.sigmas.isfinite().all())


entries = st.one_of(json_values, st.just(["diffusers"]), st.just([1, 2]), st.just(["os", "system"]), st.just({}))


@given(st.dictionaries(st.sampled_from(["unet", "vae", "scheduler", "text_encoder", "tokenizer"]), entries, min_size=1))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_any_index_is_one_line(originals: dict[str, Path], values: dict[str, Any]) -> None:
    index = json.loads((originals["sd15"] / "model_index.json").read_text()) | values
    checkpoint = Checkpoint(str(originals["sd15"]))
    checkpoint.__dict__["index"] = index
    for part in values:
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            checkpoint.network(part, torch.float32)
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            checkpoint.tokenizer(part)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("unet/config.json", {"channel_mult": ...}),
        ("unet/config.json", {"num_res_blocks": "x"}),
        ("unet/config.json", {"model_channels": 64}),
        ("unet/config.json", {"image_size": None}),
        ("unet/config.json", {"in_channels": 9}),
    ],
)
def test_settings_of_mvdream(name: str, values: dict[str, Any], copied: Callable[[str], Path]) -> None:
    folder = copied("mvdream")
    edit(folder / name, **values)
    assert "unet" in complaint(folder)


def test_parts_of_zero123(copied: Callable[[str], Path]) -> None:
    folder = copied("zero123")
    use(folder)
    part = folder / "clip_camera_projection"
    save_file({"proj.weight": torch.zeros(2, 2)}, weights(folder, part.name))
    assert "the weights of clip_camera_projection are no linear layer 'proj'" in complaint(folder)
    weights(folder, part.name).write_bytes(b"")
    assert "is empty" in complaint(folder)
    shutil.rmtree(part)
    assert "no safetensors weights of clip_camera_projection" in complaint(folder)
    edit(folder / "unet" / "config.json", in_channels=4)
    assert "its unet takes 4 channels" in complaint(folder)
