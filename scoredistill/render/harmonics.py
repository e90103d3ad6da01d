"""View-dependent color: real spherical harmonics up to degree 3 (Kerbl et al. 2023).

N splats   K = (degree + 1)^2 coefficients, in the order of degree l = 0 .. and order m = -l .. l   v unit vectors
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MAX_DEGREE = 3
"""The highest degree that splat files can store."""
CONSTANT = 0.5 * math.sqrt(1 / math.pi)
"""The basis function of degree 0."""


def basis(v: Float[Tensor, "*N 3"], degree: int) -> Float[Tensor, "*N K"]:
    """Y_lm(v), orthonormal on the sphere, with the sign (-1)^m of splat files (KHR_gaussian_splatting)."""
    x, y, z = v.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    terms = [torch.full_like(x, CONSTANT)]
    if degree > 0:
        c = math.sqrt(3 / (4 * math.pi))
        terms += [-c * y, c * z, -c * x]
    if degree > 1:
        c = 0.5 * math.sqrt(15 / math.pi)
        axial = 0.25 * math.sqrt(5 / math.pi) * (2 * zz - xx - yy)
        terms += [c * x * y, -c * y * z, axial, -c * x * z, 0.5 * c * (xx - yy)]
    if degree > 2:
        a, b, c = (0.25 * math.sqrt(k / math.pi) for k in (35 / 2, 105, 21 / 2))
        axial = 0.25 * math.sqrt(7 / math.pi) * z * (2 * zz - 3 * xx - 3 * yy)
        terms += [-a * y * (3 * xx - yy), 2 * b * x * y * z, -c * y * (4 * zz - xx - yy), axial]
        terms += [-c * x * (4 * zz - xx - yy), b * z * (xx - yy), -a * x * (xx - 3 * yy)]
    return torch.stack(terms, -1)


def color(harmonics: Float[Tensor, "N K 3"], v: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
    """max(0, 1/2 + sum_lm harmonics_lm Y_lm(v)), v from the camera to the splat (Kerbl et al. 2023)."""
    if harmonics.shape[1] == 1:
        return (0.5 + CONSTANT * harmonics[:, 0]).clamp(min=0).expand_as(v)
    values = basis(v, math.isqrt(harmonics.shape[1]) - 1)
    return (0.5 + torch.einsum("bnk,nkc->bnc", values, harmonics)).clamp(min=0)


def constant(rgb: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """The coefficient of degree 0 that renders as `rgb` from every direction."""
    return (rgb - 0.5) / CONSTANT
