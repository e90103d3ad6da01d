"""Metrics as pure functions: R-precision, sharpness, divergence, distances between distributions, diversity.

N, M images or captions   D width of features   V views of one object   H W pixels; rgb, opacity in [0, 1]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

EMPTY = 0.02  # mean opacity below which a result is empty: less than a ball a sixth of the image wide
FULL = 0.5  # mean opacity along the border above which a result is fog; an object leaves the border empty

_PRESMOOTH = 1.0  # pixels: scale of the image gradient; at finer scales noise dominates
_WINDOW = 2.5  # pixels: averaging scale of the structure tensor


@dataclass(frozen=True)
class Distance:
    """A distance between two sets of images, with the counts, without which its value is not interpretable."""

    value: float
    count: int
    other: int

    def __str__(self) -> str:
        return f"{self.value:.4g} (n = {self.count}, {self.other})"


def retrieval_precision(similarities: Float[Tensor, "N M"], own: Int[Tensor, "N"]) -> float:
    """R-precision: the fraction of images whose nearest of M captions is their own (Poole et al. 2022, section 4).

    `own` is the column of each image's caption; a tie of k captions counts 1/k, so that chance level is 1/M.
    """
    best = similarities == similarities.max(-1, keepdim=True).values
    hit = best.gather(1, own[:, None])[:, 0]
    return float((hit / best.sum(-1)).mean())


def sharpness(rgb: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V"]:
    """Coherent edge energy over contrast: sum(l1 - l2) / sum((rgb - mean)^2), per squared pixel.

    l1 >= l2 are the eigenvalues of the structure tensor (Bigun and Granlund 1987): Gaussian derivatives of std 1
    pixel, their products averaged over a window of std 2.5 pixels. At an edge the gradients have one direction
    (l1 >> l2), in noise all directions (l1 ~ l2), so noise contributes little: grain of std 0.06 on a step of height
    0.3 changes the value by less than a tenth. A straight step blurred by s across an image of width W gives
    2 / (sqrt(pi (s^2 + 1)) W).

    Limits: outlines count as much as inner detail, and the value grows with the number of edges (so compare the same
    caption, cameras and size, preferably as a ratio to ground-truth images); detail finer than a pixel has no effect;
    and pure noise has the value of a step blurred by 2 pixels.
    """
    smooth = _gaussian_blur(rgb, _PRESMOOTH)
    down = functional.pad((smooth[..., 2:, :] - smooth[..., :-2, :]) / 2, (0, 0, 1, 1))
    right = functional.pad((smooth[..., 2:] - smooth[..., :-2]) / 2, (1, 1))
    products = torch.stack([(right**2).sum(1), (right * down).sum(1), (down**2).sum(1)], 1)
    xx, xy, yy = _gaussian_blur(products, _WINDOW).unbind(1)
    coherent = ((xx - yy) ** 2 + 4 * xy**2).sqrt()
    contrast = ((rgb - rgb.mean((2, 3), keepdim=True)) ** 2).sum((1, 2, 3))
    return torch.where(contrast > 0, coherent.sum((1, 2)) / contrast.clamp(min=1e-12), 0.0)


def divergence(rgb: Float[Tensor, "V 3 H W"], opacity: Float[Tensor, "V 1 H W"] | None = None) -> str:
    """The reason why a run counts as diverged: "not finite", "empty" or "full" (fog up to the border); else ""."""
    if not bool(rgb.isfinite().all()) or (opacity is not None and not bool(opacity.isfinite().all())):
        return "not finite"
    if opacity is None:
        return ""
    if float(opacity.mean()) < EMPTY:
        return "empty"
    rows, columns = opacity[..., [0, -1], :], opacity[..., 1:-1, [0, -1]]
    border = torch.cat([rows.flatten(), columns.flatten()])
    return "full" if float(border.mean()) > FULL else ""


def frechet_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Distance:
    """FID: the Frechet distance of Gaussians fitted to both sets (Heusel et al. 2017); biased upwards at small N."""
    x, y = x.double(), y.double()
    value = frechet_gaussians(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    return Distance(value, len(x), len(y))


def frechet_gaussians(
    mean_x: Float[Tensor, "D"],
    cov_x: Float[Tensor, "D D"],
    mean_y: Float[Tensor, "D"],
    cov_y: Float[Tensor, "D D"],
) -> float:
    """|mx - my|^2 + tr(Cx + Cy - 2 (Cx^1/2 Cy Cx^1/2)^1/2) (Dowson and Landau 1982)."""
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float(((mean_x - mean_y) ** 2).sum() + cov_x.trace() + cov_y.trace() - 2 * cross)


def kernel_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Distance:
    """KID: the unbiased squared MMD under k(a, b) = (a.b / D + 1)^3 (Binkowski et al. 2018, section 4).

    Unbiased at any count, so it may be slightly negative. The kernel assumes features of mean square one: unit features
    times sqrt(D).
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    if n < 2 or m < 2:
        raise ValueError(f"the kernel distance needs at least 2 images in each set, got {n} and {m}")
    xx, yy, xy = _cubic(x, x), _cubic(y, y), _cubic(x, y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return Distance(float(within - 2 * xy.mean()), n, m)


def diversity(features: Float[Tensor, "N D"]) -> float:
    """Mean of 1 - cosine over all pairs, in [0, 2]; 0 for a single image."""
    n = len(features)
    if n < 2:
        return 0.0
    unit = functional.normalize(features, dim=-1)
    cosines = unit @ unit.T
    return float(1 - (cosines.sum() - cosines.trace()) / (n * (n - 1)))


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _gaussian_blur(x: Float[Tensor, "B C H W"], std: float) -> Float[Tensor, "B C H W"]:
    reach = min(int(3 * std + 0.5), x.shape[-1] - 1, x.shape[-2] - 1)  # 3 std contain 99.7 % of the weight
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-0.5 * (offsets / std) ** 2)
    weights = (weights / weights.sum()).expand(x.shape[1], 1, -1)
    padded = functional.pad(x, (reach,) * 4, mode="reflect")
    across = functional.conv2d(padded, weights[:, :, None, :], groups=x.shape[1])
    return functional.conv2d(across, weights[:, :, :, None], groups=x.shape[1])
