"""Stable Diffusion in a single file, in the names of its original code, from a saved folder."""

from __future__ import annotations

import re
from pathlib import Path

import tiny_views
from safetensors.torch import load_file, save_file
from torch import Tensor

from scoredistill.priors.mvdream.unet import diffusers_name

UNET = {"num_res_blocks": 1, "channel_mult": [1, 2], "attention_resolutions": [1]}
LEVELS = 2  # of the autoencoder
VAE = {
    r"down_blocks\.(\d+)\.resnets\.(\d+)\.": r"down.\1.block.\2.",
    r"down_blocks\.(\d+)\.downsamplers\.0\.": r"down.\1.downsample.",
    r"up_blocks\.(\d+)\.resnets\.(\d+)\.": r"up.\1.block.\2.",
    r"up_blocks\.(\d+)\.upsamplers\.0\.": r"up.\1.upsample.",
    r"mid_block\.resnets\.0\.": "mid.block_1.",
    r"mid_block\.resnets\.1\.": "mid.block_2.",
    r"mid_block\.attentions\.0\.": "mid.attn_1.",
    r"\.group_norm\.": ".norm.",
    r"\.to_(q|k|v)\.": r".\1.",
    r"\.to_out\.0\.": ".proj_out.",
    r"\.conv_shortcut\.": ".nin_shortcut.",
    r"\.conv_norm_out\.": ".norm_out.",
}


def save(folder: Path, path: Path) -> Path:
    """Write the networks of a folder of SD 1.5 into one file; returns its path."""
    parts = {part: next((folder / part).glob("*.safetensors")) for part in ("unet", "vae", "text_encoder")}
    theirs = {diffusers_name(f"{name}.", 1): f"{name}." for name in tiny_views.original_names(UNET)}
    tensors: dict[str, Tensor] = {}
    for name, tensor in load_file(parts["unet"]).items():
        layer, _, kind = name.rpartition(".")
        tensors[f"model.diffusion_model.{theirs[layer + '.']}{kind}"] = tensor
    for name, tensor in load_file(parts["vae"]).items():
        attention = "attentions" in name and tensor.ndim == 2
        tensors[f"first_stage_model.{vae_name(name)}"] = tensor[..., None, None] if attention else tensor
    for name, tensor in load_file(parts["text_encoder"]).items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def vae_name(name: str) -> str:
    """decoder.up_blocks.0.resnets.0.conv1.weight -> decoder.up.1.block.0.conv1.weight, and so on."""
    for pattern, replacement in VAE.items():
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^(decoder\.up\.)(\d+)", lambda found: f"{found[1]}{LEVELS - 1 - int(found[2])}", name)
