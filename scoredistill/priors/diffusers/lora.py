"""LoRA files (FILE[:weight]) of Stable Diffusion, fused into its networks: W <- W + weight up down (Hu et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

PREFIXES = {"unet": "unet", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}
"""Parts that a LoRA file may change, and the prefix of their tensors."""


def fuse_lora(network: nn.Module, part: str, files: Sequence[str]) -> None:
    """Fuse the LoRA files into one part of a pipeline, in order; a part that a file does not mention stays as it is.

    ValueError in one line for a file that is not there, is no LoRA, or was made for another network.
    """
    for index, file in enumerate(files):
        path, weight = parsed(file)
        tensors, alphas = read_lora(path)
        if part not in PREFIXES:
            raise ValueError(f"{path}: LoRA files are supported for Stable Diffusion's U-Net and text encoders only")
        mine = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIXES[part] + ".")}
        if mine:
            _fuse(network, part, path, mine, alphas, weight, f"lora_{index}")


def parsed(file: str) -> tuple[Path, float]:
    """The path and weight of FILE[:weight]; ValueError where the weight is no finite number."""
    place, colon, last = file.rpartition(":")
    if not colon or not place.endswith(".safetensors"):
        return Path(file), 1.0
    try:
        weight = float(last)
    except ValueError:
        weight = float("nan")
    if weight - weight != 0:
        raise ValueError(f"the weight of a LoRA must be a number, as in {place}:0.8, got {last!r}")
    return Path(place), weight


@cache
def read_lora(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a LoRA file in diffusers' names, and kohya's alphas; diffusers converts kohya's format."""
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin

    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors file; pickled LoRA files are never opened")
    if not path.is_file():
        raise ValueError(f"there is no LoRA file {path}")
    try:
        tensors, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(
            str(path.parent), weight_name=path.name, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # of many kinds, by the file's damage
        raise ValueError(f"{path} is not a LoRA file that can be read: {str(error).splitlines()[0]}") from None
    if not any("lora" in name for name in tensors):
        raise ValueError(f"{path} is not a LoRA file: it has no LoRA tensors")
    return tensors, alphas or {}


def _fuse(
    network: Any, part: str, path: Path, tensors: dict[str, Tensor], alphas: dict[str, Any], weight: float, name: str
) -> None:
    from diffusers.loaders.lora_base import _load_lora_into_text_encoder
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin

    prefix = PREFIXES[part]
    network.requires_grad_(False)
    try:
        if part == "unet":
            StableDiffusionLoraLoaderMixin.load_lora_into_unet(tensors, alphas, network, adapter_name=name)
            network.fuse_lora(lora_scale=weight, adapter_names=[name])
            network.unload_lora()
        else:
            _load_lora_into_text_encoder(tensors, alphas, network, prefix=prefix, adapter_name=name)
            _merge_adapters(network, name, weight)
    except (ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} does not fit {part}: {str(error).strip().splitlines()[0]}") from None


def _merge_adapters(network: Any, name: str, weight: float) -> None:
    """Add the adapters of a transformers model to its weights, and remove them."""
    from diffusers.utils.peft_utils import recurse_remove_peft_layers
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in network.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.scale_layer(weight)
            layer.merge(adapter_names=[name])
    recurse_remove_peft_layers(network)
    network._hf_peft_config_loaded = False
