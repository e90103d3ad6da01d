"""Imitations of the defects of distilled scenes, for the training of the networks that judge them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def augment(rgb: Float[Tensor, "B C H W"], rng: torch.Generator) -> Float[Tensor, "B C H W"]:
    """Images that are `degraded`, half of them also noisy, in [0, 1]."""
    rgb = degraded(rgb, rng)
    noise = _uniform(rng, len(rgb), 0, 0.06) * torch.randn(rgb.shape, generator=rng)
    return _half_of(rng, rgb + noise, rgb).clamp(0, 1)


def degraded(rgb: Float[Tensor, "B C H W"], rng: torch.Generator) -> Float[Tensor, "B C H W"]:
    """Images shifted, zoomed, of low resolution, blurred, and of other contrast and brightness, not clamped.

    Each image to a degree of its own, the same in all of its channels.
    """
    count = len(rgb)
    frame = torch.eye(2, 3) / _uniform(rng, count, 0.85, 1.2)[..., 0]
    frame[:, :, 2] = -8 / rgb.shape[-1] + 16 / rgb.shape[-1] * torch.rand(count, 2, generator=rng)
    grid = functional.affine_grid(frame, list(rgb.shape), align_corners=False)  # 4 pixels are 8 / 64 of its 2 units
    # padding repeats the border, which is plain background
    rgb = functional.grid_sample(rgb, grid, padding_mode="border", align_corners=False)
    sizes = (1, 3 / 4, 1 / 2, 3 / 8)  # 64, 48, 32 and 24 pixels
    rgb = torch.cat([_coarser(part, size) for part, size in zip(rgb.chunk(4), sizes, strict=False)])
    rgb = _half_of(rng, torch.lerp(rgb, _coarser(rgb, 1 / 4), _uniform(rng, count, 0, 0.8)), rgb)
    contrast = 0.5 + (rgb - 0.5) * _uniform(rng, count, 0.8, 1.2) + _uniform(rng, count, -0.08, 0.08)
    return _half_of(rng, contrast, rgb)


def _uniform(rng: torch.Generator, count: int, low: float, high: float) -> Float[Tensor, "B 1 1 1"]:
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=rng)


def _half_of(rng: torch.Generator, changed: Tensor, rgb: Tensor) -> Tensor:
    return torch.where(_uniform(rng, len(rgb), 0, 1) < 0.5, changed, rgb)


def _coarser(rgb: Tensor, share: float) -> Tensor:
    size = [round(share * side) for side in rgb.shape[-2:]]
    return functional.interpolate(functional.interpolate(rgb, size, mode="area"), rgb.shape[-2:], mode="bilinear")
