"""MVDream and Zero-1-to-3, tiny and random, in the published folder layouts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tiny_pipelines as tiny
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from scoredistill.priors.mvdream import unet as mvdream_unet

SETTINGS: dict[str, Any] = {
    "image_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "attention_resolutions": [2],
    "num_res_blocks": 1,
    "channel_mult": [1, 2],
    "num_head_channels": 16,
    "transformer_depth": 1,
    "context_dim": tiny.WIDTH,
    "use_checkpoint": False,
    "camera_dim": 16,
}
"""MVDream's unet/config.json, in the words of its own code."""

RESIDUAL = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")
ATTENTION = (
    *("norm", "proj_in", "proj_out"),
    *(f"transformer_blocks.0.{part}" for part in ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2")),
    *(f"transformer_blocks.0.attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")),
)


def original_names(settings: dict[str, Any]) -> Iterator[str]:
    """The layers of the original code's network, and some that only blocks of changing width have."""
    layers, levels = settings["num_res_blocks"], len(settings["channel_mult"])
    yield from ("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    for level in range(levels):
        attends = 2**level in settings["attention_resolutions"]
        for layer in range(layers):
            yield from block(f"input_blocks.{1 + level * (layers + 1) + layer}", attends)
        if level + 1 < levels:
            yield f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
    yield from (*block("middle_block", True), *(f"middle_block.2.{part}" for part in RESIDUAL))
    for level in range(levels):
        attends = 2 ** (levels - 1 - level) in settings["attention_resolutions"]
        for layer in range(layers + 1):
            yield from block(f"output_blocks.{level * (layers + 1) + layer}", attends)
        if level + 1 < levels:
            yield f"output_blocks.{level * (layers + 1) + layers}.{2 if attends else 1}.conv"


def block(name: str, attends: bool) -> Iterator[str]:
    yield from (f"{name}.0.{part}" for part in RESIDUAL)
    if attends:
        yield from (f"{name}.1.{part}" for part in ATTENTION)


def mvdream(folder: Path) -> nn.Module:
    """Save MVDream; returns its network as diffusers' own, whose attention sees one view at a time."""
    torch.manual_seed(0)
    described = mvdream_unet.build(SETTINGS, 4)
    net = UNet2DConditionModel(**{key: value for key, value in described.config.items() if key[0] != "_"})  # type: ignore[attr-defined]
    tiny.randomize(net.eval())
    cameras = {"class_embedding.linear_1": "camera_embed.0", "class_embedding.linear_2": "camera_embed.2"}
    theirs = {mvdream_unet.diffusers_name(f"{name}.", 1)[:-1]: name for name in original_names(SETTINGS)} | cameras
    tensors = {f"{theirs[name]}.{kind}": tensor for name, kind, tensor in named(net)}
    tokenizer = tiny.clip_tokenizer(folder / "words", "!")
    parts = {
        "vae": tiny.vae(),
        "text_encoder": tiny.clip(tokenizer),
        "tokenizer": tokenizer,
        "scheduler": DDIMScheduler(**tiny.BETAS, clip_sample=False, set_alpha_to_one=False),
    }
    save(folder, parts, {"unet": ["mv_unet", mvdream_unet.KIND], "image_encoder": [None, None]})
    write(folder / "unet", SETTINGS, tensors)
    return net


def zero123(folder: Path, part: str = "clip_camera_projection", layer: str = "proj") -> nn.Linear:
    """Save Zero-1-to-3; returns its projection."""
    torch.manual_seed(0)
    projection = nn.Linear(tiny.WIDTH + 4, tiny.WIDTH)
    eye = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        projection_dim=tiny.WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    parts = {
        "vae": tiny.vae(),
        "unet": tiny.unet(in_channels=8),
        "image_encoder": CLIPVisionModelWithProjection(eye),
        "scheduler": DDIMScheduler(**tiny.BETAS, clip_sample=False, set_alpha_to_one=False),
    }
    save(folder, parts, {part: ["zero123", "CLIPCameraProjection"]})
    write(folder / part, {}, {f"{layer}.{kind}": tensor.data for kind, tensor in projection.named_parameters()})
    return projection


def save(folder: Path, parts: dict[str, Any], more: dict[str, Any]) -> None:
    """Save parts into their subfolders, and the index of these and `more`."""
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            tiny.randomize(part)
        part.save_pretrained(folder / name)
    index = {name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline"} | index | more))


def write(folder: Path, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "diffusion_pytorch_model.safetensors"
    )


def named(net: nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Layer, "weight" or "bias", and tensor."""
    for name, tensor in net.state_dict().items():
        layer, _, kind = name.rpartition(".")
        yield layer, kind, tensor
