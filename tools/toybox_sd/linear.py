"""The linear start of an autoencoder: an `AutoencoderKL` whose encoder is principal components of 8x8 patches.

Its residual branches begin at zero, so a block passes its input through; each downsampling takes the components of
2x2 patches, 3 channels to 12, to 32, to 16. The output layer normalizes and applies SiLU; as
SiLU(a) - SiLU(-a) = a, a channel for a component and one for its negative pass it through, and two constants beside
them, far larger, fix the scale of the normalization.

N images   C channels   K components   H W pixels
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

CONSTANT = 8.0  # of the two constant channels, where a component has standard deviation one: 64 times the variance
FLAT = 1e-3  # variance of a patch that holds nothing but background
EVEN = 0.5  # exponent by which the components' standard deviations become alike: 0 leaves them, 1 makes them equal
POSTERIOR = 0.03  # standard deviation of the posterior, of latents of mean square one


@dataclass(frozen=True)
class Components:
    """Principal components of 2x2 patches."""

    rows: Float[Tensor, "K C 2 2"]
    std: Float[Tensor, "K"]  # of each component over the patches

    @classmethod
    def of(cls, x: Float[Tensor, "N C H W"], count: int) -> Components:
        """The `count` largest, of the patches that hold more than background."""
        patches = functional.unfold(x, 2, stride=2).transpose(1, 2).flatten(0, 1)
        patches = patches[patches.unflatten(1, (x.shape[1], 4)).var(2).sum(1) > FLAT].double()
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        rows = vectors.T.flip(0)[:count].float().unflatten(1, (x.shape[1], 2, 2))
        return cls(rows, values.flip(0)[:count].clamp(min=0).sqrt().float())


@torch.no_grad()
def start(vae: AutoencoderKL, x: Float[Tensor, "N 3 H W"]) -> None:
    """Set the encoder to the principal components of images in [-1, 1], and its scaling factor to theirs."""
    encoder: Any = vae.encoder
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.GroupNorm) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for block in [*encoder.down_blocks, encoder.mid_block]:
        for resnet in block.resnets:
            nn.init.zeros_(resnet.conv2.weight)
            if resnet.conv_shortcut is not None:
                _pass(resnet.conv_shortcut)
    nn.init.zeros_(encoder.mid_block.attentions[0].to_out[0].weight)
    _pass(encoder.conv_in)
    channels, wide = vae.config["latent_channels"], encoder.conv_norm_out.num_channels
    if wide != 4 * channels or encoder.conv_norm_out.num_groups != channels:
        raise ValueError(f"the linear start needs 4 channels for each of {channels} components, in one group each")
    first, second, third = (block.downsamplers[0].conv for block in encoder.down_blocks[:3])
    for conv, count in ((first, 4 * x.shape[1]), (second, second.out_channels)):
        found = Components.of(x, min(count, conv.out_channels))
        nn.init.zeros_(conv.weight)
        conv.weight[: len(found.rows), : x.shape[1], :2, :2] = found.rows
        x = functional.conv2d(x, found.rows, stride=2)
    _latents(vae, third, Components.of(x, channels), x)


def _latents(vae: AutoencoderKL, conv: nn.Conv2d, found: Components, x: Float[Tensor, "N C H W"]) -> None:
    """The last downsampling and the output layer: components, their negatives, and two constants in each group."""
    rows = found.rows / found.std[:, None, None, None]
    z = functional.conv2d(x, rows, stride=2)
    center = z.mean((0, 2, 3))
    assert conv.bias is not None
    nn.init.zeros_(conv.weight)
    for sign, offset in ((1, 0), (-1, 1)):
        conv.weight[offset::4, : x.shape[1], :2, :2] = sign * rows
        conv.bias[offset::4] = -sign * center
    conv.bias[2::4], conv.bias[3::4] = CONSTANT, -CONSTANT
    scale = ((1 + CONSTANT**2) / 2) ** 0.5  # of the normalization, for a component of mean square one
    size = found.std ** (1 - EVEN)
    root = float(((z - center[:, None, None]) * size[:, None, None]).square().mean().sqrt())
    out: Any = vae.encoder.conv_out
    count = len(size)
    nn.init.zeros_(out.weight)
    for index in range(count):
        out.weight[index, 4 * index, 1, 1] = scale * size[index]
        out.weight[index, 4 * index + 1, 1, 1] = -scale * size[index]
    out.bias[count:] = 2 * torch.log(torch.tensor(POSTERIOR * root))
    _pass(vae.quant_conv)
    _pass(vae.post_quant_conv)
    vae.register_to_config(scaling_factor=1 / root)


def _pass(conv: Any) -> None:
    """Let a convolution pass its channels through."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    middle = conv.kernel_size[0] // 2
    for channel in range(min(conv.weight.shape[:2])):
        conv.weight[channel, channel, middle, middle] = 1
