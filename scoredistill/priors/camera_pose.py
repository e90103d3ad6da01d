"""MVDream's camera pose, the condition of multi-view priors (Shi et al. 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras

AXES = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
"""MVDream's axes x, y, z in our coordinates: z up, front (azimuth 0) at +x; azimuth is counter-clockwise in both."""


def camera_pose(cameras: Cameras) -> Float[Tensor, "B 16"]:
    """c2w from camera axes right, up, backward to world axes front, side, up; |translation| = 1 (Shi et al. 2023).

    Differs from the official code: the cameras themselves are not changed.
    """
    axes = AXES.to(cameras.c2w)
    rotation = axes @ cameras.c2w[:, :3, :3] * cameras.c2w.new_tensor([1, -1, -1])  # from right, down, forward
    position = F.normalize(cameras.c2w[:, :3, 3] @ axes.T, dim=-1)
    pose = torch.eye(4).to(axes).repeat(len(cameras), 1, 1)
    pose[:, :3] = torch.cat([rotation, position[..., None]], -1)
    return pose.flatten(1)
