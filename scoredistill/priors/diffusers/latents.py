"""The spaces that priors denoise in: pixels, or an autoencoder's scaled latents.

rgb  pixels in [0, 1]                             [B 3 H W]
x    what the denoiser sees: 2 rgb - 1, or (z - shift) scale with z from the autoencoder   [B C h w]
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Pixels:
    """x = 2 rgb - 1 at `size` (a pixel-space cascade's first stage)."""

    def __init__(self, size: int):
        self.size = size

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B 3 h w"]:
        """[0, 1] pixels of any size to x; deterministic."""
        return 2 * resized(rgb, self.size) - 1

    def decode(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        """x to pixels; values outside [0, 1] are not clamped."""
        return (x + 1) / 2


class Latents:
    """x = (z - shift) scale, z the posterior of an autoencoder, whose settings name shift and scale (METHODS 1.6).

    One image at a time goes through the autoencoder, and its blocks are computed again for the gradient instead of
    being stored: at 512 pixels the activations would outweigh the denoiser.
    """

    def __init__(self, vae: nn.Module, size: int):
        self.vae: Any = vae
        self.size = size
        self.vae.enable_slicing()
        self.vae.enable_gradient_checkpointing()
        config = self.vae.config
        self.scale, self.shift = config.scaling_factor, config.shift_factor or 0.0

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B C h w"]:
        """Pixels of any size to x, differentiable: a sample of the posterior drawn from `rng`, without it the mean."""
        pixels = (2 * resized(rgb, self.size) - 1).to(self.vae.dtype)
        posterior = self.vae.encode(pixels, return_dict=False)[0]
        z = posterior.mean.to(rgb.dtype)
        if rng is not None:
            noise = torch.randn(z.shape, generator=rng, dtype=z.dtype).to(z.device)
            z = z + posterior.std.to(rgb.dtype) * noise
        return (z - self.shift) * self.scale

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """x to pixels; values outside [0, 1] are not clamped."""
        z = (x / self.scale + self.shift).to(self.vae.dtype)
        return (self.vae.decode(z, return_dict=False)[0].to(x.dtype) + 1) / 2


Space = Latents | Pixels


def resized(rgb: Float[Tensor, "B 3 H W"], size: int) -> Float[Tensor, "B 3 h w"]:
    """Bilinear to a square of `size`, antialiased where that makes it smaller; itself where it has that size."""
    if rgb.shape[-2:] == (size, size):
        return rgb
    return F.interpolate(rgb, (size, size), mode="bilinear", antialias=True)


def factor(vae_config: Any) -> int:
    """Pixels of a side that one latent stands for."""
    return 2 ** (len(vae_config["block_out_channels"]) - 1)
