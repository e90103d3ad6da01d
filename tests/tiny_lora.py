"""Random LoRA files for the tiny pipelines, in the formats of diffusers and of kohya's trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

RANK, ALPHA = 3, 1.5
ADAPTED = {
    "unet": ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "conv1"),
    "text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj"),
}
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_1": "lora_te1_", "text_encoder_2": "lora_te2_"}


def adapters(network: nn.Module, part: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Random (down, up) by the name of the layer."""
    rng = torch.Generator().manual_seed(len(part))
    found = {}
    for name, layer in network.named_modules():
        if name.endswith(ADAPTED[part]):
            weight: Any = layer.weight
            width, *fan_in = weight.shape
            up = 0.3 * torch.randn(width, RANK, *[1] * (weight.ndim - 2), generator=rng)
            found[name] = (0.3 * torch.randn(RANK, *fan_in, generator=rng), up)
    assert found
    return found


def networks(pipeline: Any) -> dict[str, nn.Module]:
    """The parts of a pipeline that LoRA changes."""
    names = ("unet", "text_encoder", "text_encoder_2")
    return {name: getattr(pipeline, name) for name in names if getattr(pipeline, name, None) is not None}


def diffusers_format(pipeline: Any, folder: Path) -> Path:
    """As `save_lora_weights` writes it; there alpha equals the rank."""
    tensors = {}
    for part, network in networks(pipeline).items():
        for layer, (down, up) in adapters(network, part.removesuffix("_2")).items():
            tensors[f"{part}.{layer}.lora_A.weight"] = down
            tensors[f"{part}.{layer}.lora_B.weight"] = up
    return write(tensors, folder / "diffusers.safetensors")


def kohya_format(pipeline: Any, folder: Path) -> Path:
    """As kohya's trainer writes it: layers joined by underscores, an alpha for each."""
    tensors = {}
    parts = networks(pipeline)
    for part, network in parts.items():
        number = "_1" if part == "text_encoder" and "text_encoder_2" in parts else ""
        for layer, (down, up) in adapters(network, part.removesuffix("_2")).items():
            text = "" if part == "unet" or layer.startswith("text_model.") else "text_model."
            name = KOHYA[part + number] + (text + layer).replace(".", "_")
            tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
            tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return write(tensors, folder / "kohya.safetensors")


def write(tensors: dict[str, Tensor], path: Path) -> Path:
    """Save tensors, each with memory of its own."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    return path
