"""Shading of surfaces: one model for the Toybox renderer and the scenes, so that a volume can reproduce the data.

`n` unit normals, `v` unit vectors from the surface towards the camera, both in world coordinates (y up).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

AMBIENT, SKY, HEAD = 0.45, 0.35, 0.2
"""Weights of ambient light, of a hemispherical sky, and of a lamp at the camera; they sum to one (white stays white).

The sky term depends on n.y only. It is the same from every azimuth, hence 3D consistent, and distinguishes convex from
concave shapes. The lamp darkens grazing surfaces, which gives round objects a rim.
"""


def daylight(normal: Float[Tensor, "*N 3"], to_camera: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N"]:
    """Irradiance in [AMBIENT, 1]: ambient + sky (1 + n.y) / 2 + head max(n.v, 0); color = albedo * daylight."""
    facing = (normal * to_camera).sum(-1).clamp(min=0)
    return AMBIENT + SKY * 0.5 * (1 + normal[..., 1]) + HEAD * facing


def lambert(
    normal: Float[Tensor, "*N 3"], to_light: Float[Tensor, "*N 3"], *, ambient: float = 0.1, diffuse: float = 0.9
) -> Float[Tensor, "*N"]:
    """Point-light shading: ambient + diffuse max(n.l, 0) (Poole et al. 2023, section 3.1)."""
    return ambient + diffuse * (normal * to_light).sum(-1).clamp(min=0)
