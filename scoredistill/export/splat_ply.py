"""Splats as PLY with the property names of Kerbl et al. 2023, which splat viewers and editors read.

N splats   K = (degree + 1)^2 harmonics   binary little endian, every property a float32
x y z | nx ny nz (zeros) | f_dc_0..2 | f_rest_0.. (all of red, of green, of blue) | opacity (logit)
scale_0..2 (natural logarithms) | rot_0..3 (w x y z)
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Gaussians
from scoredistill.files import write_safely

UPSIDE_DOWN = (-1.0, -1.0, 1.0)
"""Our axes in those of the file: such files come from photos with y pointing down, and viewers rotate them about z.

A PLY of a mesh has z up, as modelers expect; viewers of splats expect the frame of the photos, so this one has not.
"""
AXES = "comment scoredistill: -y up, front +z"


@torch.no_grad()
def write_splat_ply(splats: Gaussians, path: Path) -> None:
    """Write splats, rotated so that viewers show them upright; OSError if the file cannot be written."""
    means, rotations, harmonics = rotated(splats)
    rest = harmonics[:, 1:].transpose(1, 2).flatten(1)
    opacity = torch.logit(splats.opacities, eps=1e-6)[:, None]
    values = (means, torch.zeros_like(means), harmonics[:, 0], rest, opacity, splats.stds.log(), rotations)
    names = ["x", "y", "z", "nx", "ny", "nz", *_numbered("f_dc", 3), *_numbered("f_rest", rest.shape[1]), "opacity"]
    names += [*_numbered("scale", 3), *_numbered("rot", 4)]
    properties = "".join(f"property float {name}\n" for name in names)
    header = f"ply\nformat binary_little_endian 1.0\n{AXES}\nelement vertex {len(means)}\n{properties}end_header\n"
    write_safely(path, header.encode() + torch.cat(values, 1).cpu().float().numpy().astype("<f4").tobytes())


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{index}" for index in range(count)]


def rotated(splats: Gaussians) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 4"], Float[Tensor, "N K 3"]]:
    """Means, unit rotations and harmonics in the axes of the file; a harmonic of order m changes by (-1)^m."""
    w, x, y, z = torch.nn.functional.normalize(splats.rotations, dim=-1).unbind(-1)
    degree = math.isqrt(splats.harmonics.shape[1]) - 1
    signs = [(-1.0) ** m for each in range(degree + 1) for m in range(-each, each + 1)]
    means = splats.means * splats.means.new_tensor(UPSIDE_DOWN)
    harmonics = splats.harmonics * splats.harmonics.new_tensor(signs)[:, None]
    return means, torch.stack([-z, -y, x, w], -1), harmonics
