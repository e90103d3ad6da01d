"""LoRA files fused into Stable Diffusion: equal to diffusers' own pipeline and to W + weight (alpha / rank) up down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_lora
import tiny_pipelines
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scoredistill.contracts import Prompt
from scoredistill.priors.diffusers import DiffusersPrior
from scoredistill.priors.load import load_prior

FORMATS: dict[str, Callable[[Any, Path], Path]] = {
    "diffusers": tiny_lora.diffusers_format,
    "kohya": tiny_lora.kohya_format,
}
WEIGHT = 0.6


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a saved pipeline of each family."""
    folders = {family: tmp_path_factory.mktemp(family) for family in ("sd15", "sd21", "sdxl", "sd3")}
    for family, folder in folders.items():
        tiny_pipelines.save(family, folder)
    return folders


def pipeline_of(folder: Path) -> Any:
    """The pipeline of a folder, as diffusers loads it."""
    return DiffusionPipeline.from_pretrained(folder)


def load(folder: Path, *lora: str) -> Any:
    return load_prior(str(folder), dtype=torch.float32, lora=lora)


def predictions(prior: DiffusersPrior) -> list[Tensor]:
    """The embeddings of a prompt, and eps for it."""
    text = prior.conditions(Prompt("a hamburger"), None, 2).text
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    eps = prior.eps(x_t, torch.tensor([0.3, 0.7], dtype=torch.float64), text)
    return [text.tokens, *eps] if text.pooled is None else [text.tokens, text.pooled, *eps]


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def fused_by_hand(pipeline: Any, weight: float, alpha: float) -> Any:
    """A pipeline whose layers are W + weight (alpha / rank) up down."""
    for part, network in tiny_lora.networks(pipeline).items():
        for name, (down, up) in tiny_lora.adapters(network, part.removesuffix("_2")).items():
            layer: Any = network.get_submodule(name)
            change = (up.flatten(1) @ down.flatten(1)).reshape(layer.weight.shape)
            layer.weight.data += weight * alpha / tiny_lora.RANK * change
    return pipeline


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_a_file_is_fused_as_the_pipeline_does(family: str, kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """U-Net and every text encoder, linear layers and convolutions."""
    folder = folders[family]
    pipeline = pipeline_of(folder)
    file = FORMATS[kind](pipeline, tmp_path)
    found = predictions(load(folder, f"{file}:{WEIGHT}"))
    alpha = tiny_lora.ALPHA if kind == "kohya" else tiny_lora.RANK
    expected = predictions(DiffusersPrior.from_pipeline(fused_by_hand(pipeline_of(folder), WEIGHT, alpha)))
    close(found, expected)
    pipeline.load_lora_weights(str(file))
    pipeline.fuse_lora(lora_scale=WEIGHT)
    pipeline.unload_lora_weights()
    close(found, predictions(DiffusersPrior.from_pipeline(pipeline)))
    for one, other in zip(found, predictions(load(folder)), strict=True):
        assert not torch.allclose(one, other, atol=1e-3)


def test_a_file_that_diffusers_wrote_with_its_metadata(folders: dict[str, Path], tmp_path: Path) -> None:
    """`save_lora_weights` of an adapter made by peft: its alpha is in the header of the file."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = pipeline_of(folders["sd15"])
    config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    pipeline.unet.add_adapter(config)
    layers, metadata = get_peft_model_state_dict(pipeline.unet), pipeline.unet.peft_config["default"].to_dict()
    pipeline.save_lora_weights(tmp_path, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata)
    (file,) = tmp_path.glob("*.safetensors")
    pipeline.unet.fuse_lora()
    pipeline.unet.unload_lora()
    close(predictions(load(folders["sd15"], str(file))), predictions(DiffusersPrior.from_pipeline(pipeline)))


def test_several_files_add_up(folders: dict[str, Path], tmp_path: Path) -> None:
    """Two files, one twice with opposite weights, are the other one alone; the networks are plain again afterwards."""
    folder = folders["sd15"]
    pipeline = pipeline_of(folder)
    first, second = (str(make(pipeline, tmp_path)) for make in FORMATS.values())
    prior = load(folder, first, second, f"{first}:-1")
    close(predictions(prior), predictions(load(folder, second)))
    assert not any(hasattr(layer, "base_layer") for layer in prior.net.modules())
    assert not any(parameter.requires_grad for parameter in prior.net.parameters())
    names = {type(layer) for layer in prior.net.modules()}
    assert names == {type(layer) for layer in load(folder).net.modules()}
    prior.learner()


def test_a_file_for_one_part_leaves_the_other(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["sd15"]
    file = tiny_lora.diffusers_format(pipeline_of(folder), tmp_path)
    plain = predictions(load(folder))
    for part in ("unet", "text_encoder"):
        only = {name: tensor for name, tensor in load_file(file).items() if name.startswith(part + ".")}
        found = predictions(load(folder, str(tiny_lora.write(only, tmp_path / f"{part}.safetensors"))))
        assert torch.equal(found[0], plain[0]) == (part == "unet")
        assert not torch.allclose(found[1], plain[1])


def complaint(folder: Path, lora: str) -> str:
    """The one line of the error of a prior that does not load, or does not encode its texts."""
    with pytest.raises(ValueError) as error:
        predictions(load(folder, lora))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_lora_file_for_the_model(folders: dict[str, Path], tmp_path: Path) -> None:
    sd15 = folders["sd15"]
    file = tiny_lora.diffusers_format(pipeline_of(sd15), tmp_path)
    assert complaint(sd15, "/none/x.safetensors") == "there is no LoRA file /none/x.safetensors"
    assert "not a .safetensors file" in complaint(sd15, str(tmp_path / "x.bin"))
    for weight in ("strong", "nan", ""):
        assert "must be a finite number, as in" in complaint(sd15, f"{file}:{weight}")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not tensors")
    assert "is not a LoRA file of Stable Diffusion" in complaint(sd15, str(broken))
    save_file({"conv_in.weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    assert "it has no LoRA tensors" in complaint(sd15, str(tmp_path / "weights.safetensors"))
    save_file({"transformer.x.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "flux.safetensors")
    assert "it has tensors of 'transformer'" in complaint(sd15, str(tmp_path / "flux.safetensors"))
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2), "lora_unet_x.dora_scale": torch.zeros(2)}, broken)
    assert "DoRA is not supported" in complaint(sd15, str(broken))


def test_a_file_of_another_network(folders: dict[str, Path], tmp_path: Path) -> None:
    """Other shapes, and layers that the network lacks, in either part."""
    sd15 = folders["sd15"]
    file = tiny_lora.diffusers_format(pipeline_of(sd15), tmp_path)
    tensors = load_file(file)

    def spoiled(change: Callable[[str, Tensor], tuple[str, Tensor]], part: str) -> str:
        changed = dict(change(*each) if each[0].startswith(part + ".") else each for each in tensors.items())
        return complaint(sd15, str(tiny_lora.write(changed, tmp_path / "spoiled.safetensors")))

    def wider(name: str, tensor: Tensor) -> tuple[str, Tensor]:
        return name, nn.functional.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, 1)) if "lora_A" in name else tensor

    def renamed(name: str, tensor: Tensor) -> tuple[str, Tensor]:
        return name.replace("down_blocks.0", "down_blocks.7").replace("layers.0", "layers.7"), tensor

    for part in ("unet", "text_encoder"):
        assert f"was made for another {part}: " in spoiled(wider, part)
        assert f"was made for another {part}: of its " in spoiled(renamed, part)
    sdxl = tiny_lora.diffusers_format(pipeline_of(folders["sdxl"]), tmp_path)
    assert "was made for another" in complaint(sd15, str(sdxl))


def test_priors_without_lora(folders: dict[str, Path], tmp_path: Path) -> None:
    file = str(tiny_lora.diffusers_format(pipeline_of(folders["sd15"]), tmp_path))
    assert "takes no LoRA files" in complaint(folders["sd3"], file)
    for name in ("toybox", "mvdream", "zero123"):
        with pytest.raises(ValueError, match="takes no LoRA files"):
            load_prior(name, lora=(file,))


def test_sdxl_blocks_numbered_as_in_the_original_code(folders: dict[str, Path], tmp_path: Path) -> None:
    """kohya's trainer names the blocks of SDXL input_blocks, middle_block and output_blocks."""
    folder = folders["sdxl"]
    pipeline = pipeline_of(folder)
    file = tiny_lora.kohya_format(pipeline, tmp_path)
    old, new = "lora_unet_down_blocks_0_attentions_0_", "lora_unet_input_blocks_1_1_"
    tensors = {name: tensor for name, tensor in load_file(file).items() if name.startswith(old) and "_to_" in name}
    assert tensors
    same = tiny_lora.write(tensors, tmp_path / "same.safetensors")
    other = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    numbered = tiny_lora.write(other, tmp_path / "numbered.safetensors")
    close(predictions(load(folder, str(numbered))), predictions(load(folder, str(same))))
