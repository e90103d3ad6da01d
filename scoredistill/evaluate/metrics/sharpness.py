"""Sharpness without a reference: the share of edge energy that a second blur removes.

V images   H W pixels; rgb in [0, 1]
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scoredistill.evaluate.metrics.metric import Metric

SHARPNESS = Metric(
    name="sharpness",
    title="share of edge energy that a second blur removes",
    equation="1 - E(G_1 * y) / E(y), E(y) = sum(l1 - l2)",
    source="re-blurring of Crete et al. 2007 on the structure tensor of Bigun and Granlund 1987",
    low=0,
    high=1,
    higher_is_better=True,
    priors="all",
    validation="falls with Gaussian blur; not affected by saturation; noise and coarse posterization raise it",
)

_REBLUR = 1.0  # pixels: std of the second blur
_WINDOW = 2.5  # pixels: std of the averaging of the structure tensor
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def sharpness(rgb: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V"]:
    """1 - E(G_1 * y) / E(y) of the luma y, in [0, 1]; 0 for a constant image.

    E sums l1 - l2 over the pixels, l1 >= l2 the eigenvalues of the structure tensor: the energy of gradients that
    agree in direction over a window of std 2.5 pixels, of which noise has little. G_1 is a Gaussian of std 1 pixel. An
    image that is blurred already loses little by it. The value depends neither on the contrast nor on the number of
    edges: a straight step blurred by s >= 2 pixels gives 1 - sqrt((s^2 + 1/3) / (s^2 + 4/3)).

    Limits: noise, and artifacts of the size of a pixel, raise it (noise of std 0.04 as much as two thirds of a blur by
    half a pixel lowers it); it counts pixels, so compare images of one resolution.
    """
    luma = (rgb * rgb.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    before, after = _coherent_energy(luma), _coherent_energy(_gaussian_blur(luma, _REBLUR))
    return torch.where(before > _rounding(luma), 1 - after / before.clamp(min=torch.finfo(luma.dtype).tiny), 0.0)


def _coherent_energy(luma: Float[Tensor, "V 1 H W"]) -> Float[Tensor, "V"]:
    """sum(l1 - l2) of the structure tensor, with central differences."""
    down = functional.pad((luma[..., 2:, :] - luma[..., :-2, :]) / 2, (0, 0, 1, 1))
    right = functional.pad((luma[..., 2:] - luma[..., :-2]) / 2, (1, 1))
    xx, xy, yy = _gaussian_blur(torch.cat([right**2, right * down, down**2], 1), _WINDOW).unbind(1)
    return ((xx - yy) ** 2 + 4 * xy**2).sqrt().sum((1, 2))


def _rounding(luma: Float[Tensor, "V 1 H W"]) -> float:
    """The energy of an image that is constant up to the rounding of its pixels."""
    return luma[0].numel() * (8 * torch.finfo(luma.dtype).eps) ** 2


def _gaussian_blur(x: Float[Tensor, "B C H W"], std: float) -> Float[Tensor, "B C H W"]:
    reach = min(int(3 * std + 0.5), x.shape[-1] - 1, x.shape[-2] - 1)  # 3 std contain 99.7 % of the weight
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-0.5 * (offsets / std) ** 2)
    weights = (weights / weights.sum()).expand(x.shape[1], 1, -1)
    padded = functional.pad(x, (reach,) * 4, mode="reflect")
    across = functional.conv2d(padded, weights[:, :, None, :], groups=x.shape[1])
    return functional.conv2d(across, weights[:, :, :, None], groups=x.shape[1])
