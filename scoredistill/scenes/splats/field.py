"""Splats as a volume: a density and a color whose renders agree with the splats', for mesh export."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Gaussians
from scoredistill.kernels.mixture import evaluate, mixture
from scoredistill.kernels.project import rotation_matrices
from scoredistill.render.harmonics import CONSTANT

THINNEST = 4e-3
"""Least standard deviation, in parts of the cube's half side: a quarter of a cell of a mesh of 128 samples a side."""


class SplatField:
    """density(x) = sum_i c_i exp(-(x - mean_i)^T covariance_i^-1 (x - mean_i) / 2).

    c_i = -ln(1 - opacity_i) / (sqrt(2 pi) s_i), s_i the longest standard deviation: a ray through the center along
    the longest axis is stopped by just its opacity, as in a render from there. So outlines agree; with the shortest
    axis, discs viewed from the edge would be more opaque than in renders (a mesh 1.3 dB farther from the renders).
    Colors are those of degree 0, the same from everywhere, averaged by density.
    """

    @torch.no_grad()
    def __init__(self, splats: Gaussians, bounds: float) -> None:
        self._bounds = bounds
        stds = splats.stds.clamp(min=THINNEST * bounds)
        depth = -torch.log1p(-splats.opacities.clamp(max=1 - 1e-6))
        peak = depth / (math.sqrt(2 * math.pi) * stds.amax(-1))
        rgb = (0.5 + CONSTANT * splats.harmonics[:, 0]).clamp(0, 1)
        axes = rotation_matrices(splats.rotations) * stds[:, None]
        values = peak[:, None] * torch.cat([rgb, torch.ones_like(rgb[:, :1])], 1)
        self.empty = len(splats.means) == 0  # all splats may have been pruned
        self.blobs = mixture(splats.means, axes, values, bounds)

    @property
    def bounds(self) -> float:
        """Half the side of the cube."""
        return self._bounds

    def density(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Volume density per unit length."""
        return self._sums(points)[:, 3]

    def color(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Mean color of the splats at each point; gray where there are none."""
        total = self._sums(points)
        weight = total[:, 3:]
        return torch.where(weight > 0, total[:, :3] / weight.clamp(min=torch.finfo(weight.dtype).tiny), 0.5)

    def _sums(self, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
        """Colors times density, and density, summed over the splats."""
        return points.new_zeros(len(points), 4) if self.empty else evaluate(self.blobs, points)
