"""Zero-1-to-3's pose of a view relative to the input picture (Liu et al. 2023)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras


def relative_pose(photo: Cameras, cameras: Cameras, *, above: bool = False) -> Float[Tensor, "B 4"]:
    """T = [theta - theta_0, sin(phi - phi_0), cos(phi - phi_0), r - r_0] (Liu et al. 2023, official code).

    Angles of the nominal orbit, in radians; theta - theta_0 is the elevation of the photo minus that of the view.
    `above`: the last entry is theta_0 instead, as in the training of Stable Zero123.
    """
    turned = cameras.azimuth - photo.azimuth
    last = (math.pi / 2 - photo.elevation).expand_as(turned) if above else cameras.radius - photo.radius
    return torch.stack([photo.elevation - cameras.elevation, turned.sin(), turned.cos(), last], -1)
