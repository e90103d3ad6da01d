"""Stable Diffusion 2.1-base with random weights, since the cost of a step does not depend on the weights."""

from __future__ import annotations

from typing import Any

import torch

from scoredistill.priors.diffusers.denoisers import DENOISERS
from scoredistill.priors.diffusers.latents import Latents
from scoredistill.priors.diffusers.prior import DiffusersPrior
from scoredistill.priors.diffusers.text import Embedded, Texts
from scoredistill.priors.diffusers.view_prompting import ViewPrompting
from scoredistill.schedule import scaled_linear

TOKENS = 77
UNET: dict[str, Any] = {  # the published config, where it differs from the defaults of the class
    "sample_size": 64,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
THIN: tuple[dict[str, Any], dict[str, Any]] = (  # the same with few channels, for a CPU
    {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2, "cross_attention_dim": 16},
    {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4},
)


def networks(device: torch.device | str, dtype: torch.dtype, *, thin: bool = False) -> tuple[Any, Any]:
    """The frozen denoiser and autoencoder."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    configs = (full | (small if thin else {}) for full, small in zip((UNET, VAE), THIN, strict=True))
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            net, vae = (
                kind(**config) for kind, config in zip((UNet2DConditionModel, AutoencoderKL), configs, strict=True)
            )
    finally:
        torch.set_default_dtype(before)
    return net.eval().requires_grad_(False), vae.eval().requires_grad_(False)


def stable_diffusion(
    size: int,
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    thin: bool = False,
    view_prompting: ViewPrompting = "words",
) -> DiffusersPrior:
    """The prior at `size` pixels, as `DiffusersPrior.load` sets it up; texts are random features."""
    net, vae = networks(device, dtype, thin=thin)
    for each in (net, vae):
        each.to(memory_format=torch.channels_last)

    def encode(texts: list[str]) -> Embedded:
        return Embedded(torch.randn(len(texts), TOKENS, net.config.cross_attention_dim).to(device, dtype))

    denoiser, texts = DENOISERS["UNet2DConditionModel"], Texts(lambda: encode)
    return DiffusersPrior(
        net, denoiser, Latents(vae, size), texts, (scaled_linear(), "eps"), view_prompting=view_prompting
    )
