"""The spaces of published priors: pixels, or the scaled latents of an autoencoder.

rgb  pixels in [0, 1]                             [B 3 H W]
x    input of the denoiser: 2 rgb - 1, or (z - shift) scale with z from the autoencoder   [B C h w]
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Pixels:
    """x = 2 rgb - 1 at `size` pixels (the first stage of a pixel-space cascade)."""

    def __init__(self, size: int):
        self.size = size

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B 3 h w"]:
        """[0, 1] pixels of any size to x; deterministic."""
        return 2 * resized(rgb, self.size) - 1

    def decode(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        """x to pixels; values outside [0, 1] are not clamped."""
        return (x + 1) / 2


class Latents:
    """x = (z - shift) scale, z from the posterior of an autoencoder whose settings have shift, scale.

    The autoencoder runs on one image at a time with gradient checkpointing: at 512 pixels its activations would take
    more memory than the denoiser.
    """

    def __init__(self, vae: nn.Module, size: int):
        self.vae: Any = vae
        self.size = size
        self.vae.enable_slicing()
        self.vae.enable_gradient_checkpointing()
        config = self.vae.config
        self.scale, self.shift = config.scaling_factor, config.shift_factor or 0.0

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> Float[Tensor, "B C h w"]:
        """Pixels of any size to x, differentiable: a sample of the posterior drawn with `rng`, without it the mean."""
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
    """`rgb` resized to a square of `size` (bilinear, antialiased when shrinking); unchanged if it has that size."""
    if rgb.shape[-2:] == (size, size):
        return rgb
    return F.interpolate(rgb, (size, size), mode="bilinear", antialias=True)


def factor(vae_config: Any) -> int:
    """Pixels per latent along one side."""
    return 2 ** (len(vae_config["block_out_channels"]) - 1)
