"""MVDream's network: Stable Diffusion 2.1's U-Net with camera conditioning and self-attention across all views.

The published folder uses the configuration and tensor names of the original code; both are converted to those of
diffusers, whose U-Net it is except for the attention. F views of an object, L tokens of a view, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.priors.diffusers.checkpoint import Checkpoint
from scoredistill.priors.diffusers.libraries import one_line

KIND = "MultiViewUNetModel"
"""The class of the network in a published model_index.json."""

OUTER = {
    "time_embed.0.": "time_embedding.linear_1.",
    "time_embed.2.": "time_embedding.linear_2.",
    "camera_embed.0.": "class_embedding.linear_1.",
    "camera_embed.2.": "class_embedding.linear_2.",
    "input_blocks.0.0.": "conv_in.",
    "out.0.": "conv_norm_out.",
    "out.2.": "conv_out.",
}
"""Layers outside of the blocks: original names and those of diffusers."""

RESIDUAL = {
    "in_layers.0.": "norm1.",
    "in_layers.2.": "conv1.",
    "emb_layers.1.": "time_emb_proj.",
    "out_layers.0.": "norm2.",
    "out_layers.3.": "conv2.",
    "skip_connection.": "conv_shortcut.",
}
"""Layers of a residual block: original names and those of diffusers; the names of attention layers are the same."""


class CrossView:
    """Self-attention over the tokens of all views of an object: rows come as groups of `views` (Shi et al. 2023)."""

    def __init__(self, views: int):
        from diffusers.models.attention_processor import AttnProcessor2_0

        self.views, self.within = views, AttnProcessor2_0()

    def __call__(self, attention: nn.Module, x: Float[Tensor, "F L D"], *args: Any, **known: Any) -> Tensor:
        """The attention output of each token, over all F L tokens of its group."""
        joint = x.unflatten(0, (-1, self.views)).flatten(1, 2)
        return self.within(attention, joint, *args, **known).unflatten(1, (self.views, -1)).flatten(0, 1)  # type: ignore[arg-type]


def load(checkpoint: Checkpoint, dtype: torch.dtype, views: int) -> nn.Module:
    """The frozen network of a published folder; ValueError if its tensors do not match its configuration."""
    settings = checkpoint.settings("unet")
    weights = checkpoint.weights("unet")
    try:
        net = build(settings, views)
        tensors = renamed(weights, settings["num_res_blocks"])
    except Exception as error:  # of many types, depending on which setting is missing or wrong
        raise ValueError(
            f"{checkpoint}: unet/config.json is not MVDream's: {type(error).__name__} {one_line(error)}"
        ) from None
    if wrong := sorted(net.state_dict().keys() ^ tensors.keys()):
        raise ValueError(f"{checkpoint}: its unet is not MVDream's, {len(wrong)} tensors differ, {wrong[0]} among them")
    try:
        net.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: the weights of unet do not fit its config.json: {one_line(error)}") from None
    return net.eval().requires_grad_(False)


def build(settings: Mapping[str, Any], views: int) -> nn.Module:
    """The network of a published unet/config.json, on the meta device (without memory for its weights)."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    widths = [settings["model_channels"] * factor for factor in settings["channel_mult"]]
    attends = [2**level in settings["attention_resolutions"] for level in range(len(widths))]
    with torch.device("meta"):
        net = UNet2DConditionModel(
            sample_size=settings["image_size"],
            in_channels=settings["in_channels"],
            out_channels=settings["out_channels"],
            block_out_channels=tuple(widths),
            layers_per_block=settings["num_res_blocks"],
            down_block_types=tuple("CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attends),
            up_block_types=tuple("CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attends)),
            attention_head_dim=tuple(width // settings["num_head_channels"] for width in widths),  # diffusers: heads
            cross_attention_dim=settings["context_dim"],
            transformer_layers_per_block=settings["transformer_depth"],
            use_linear_projection=True,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=settings["camera_dim"],
        )
    across = {name: CrossView(views) for name in net.attn_processors if ".attn1." in name}
    net.set_attn_processor(net.attn_processors | across)  # type: ignore[arg-type] (any callable of its signature)
    return net


def renamed(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Tensors by the names of diffusers; `layers` is the number of residual blocks at each width on the way down."""
    return {diffusers_name(name, layers): tensor for name, tensor in tensors.items()}


def diffusers_name(name: str, layers: int) -> str:
    """input_blocks.4.1.norm.weight -> down_blocks.1.attentions.0.norm.weight, and so on."""
    outer = _replaced(name, OUTER)
    if outer != name:
        return outer
    part, *numbers, rest = name.split(".", 2 if name.startswith("middle_block.") else 3)
    index, place = (int(number) for number in numbers[-2:]) if len(numbers) == 2 else (0, int(numbers[0]))
    match part:
        case "middle_block":  # residual, attention, residual
            return f"mid_block.{_inner(place % 2, place // 2, rest)}"
        case "input_blocks":
            level, layer = divmod(index - 1, layers + 1)
            return f"down_blocks.{level}.{_inner(place, layer, rest, 'op.', 'downsamplers')}"
        case "output_blocks":
            level, layer = divmod(index, layers + 1)
            return f"up_blocks.{level}.{_inner(place, layer, rest, 'conv.', 'upsamplers')}"
    return name


def _inner(place: int, layer: int, rest: str, resizing: str = "none", resizers: str = "") -> str:
    """The name of a layer within a block, by its place: 0 is a residual block, 1 attention; or a resizing layer."""
    if rest.startswith(resizing):
        return f"{resizers}.0.conv.{rest.removeprefix(resizing)}"
    return f"attentions.{layer}.{rest}" if place else f"resnets.{layer}.{_replaced(rest, RESIDUAL)}"


def _replaced(name: str, known: Mapping[str, str]) -> str:
    return next((new + name.removeprefix(old) for old, new in known.items() if name.startswith(old)), name)
