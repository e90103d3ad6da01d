"""What the browser shows: the scene's own render from the camera of a browser, as pixels.

H W pixels   cameras as in `scoredistill.camera`, viser's are the same: x right, y down, z forward
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Frame, Gaussians
from scoredistill.export.images import enlarge, grid, normal_image
from scoredistill.kernels.project import rotation_matrices
from scoredistill.recipes.build import background_color
from scoredistill.recipes.recipe import Recipe
from scoredistill.render.harmonics import CONSTANT

Pixels = UInt8[np.ndarray, "H W 3"]

DEPTH = 1.0  # the images of depth go from white, so much nearer than the origin, to black, so much farther
MARGIN = 0.05  # free share of the height around flat images


def camera(c2w: Float[Tensor, "4 4"], fov: float, height: int, width: int) -> Cameras:
    """One camera; its nominal orbit is that of its position."""
    x, y, z = c2w[:3, 3].tolist()
    radius = math.hypot(x, y, z)
    angles = torch.tensor([math.atan2(x, z), math.asin(y / radius) if radius else 0.0])
    return Cameras(c2w[None], torch.tensor([fov]), height, width, angles[:1], angles[1:], torch.tensor([radius]))


def pose(wxyz: np.ndarray, position: np.ndarray) -> Float[Tensor, "4 4"]:
    """Camera to world from a quaternion and a position."""
    c2w = torch.eye(4)
    c2w[:3, :3] = rotation_matrices(torch.tensor(wxyz, dtype=torch.float32)[None])[0]
    c2w[:3, 3] = torch.tensor(position, dtype=torch.float32)
    return c2w


@torch.no_grad()
def render(recipe: Recipe, scene: Any, cameras: Cameras, kind: str) -> Pixels:
    """The first view of the scene, as previews and turntables show it; `kind` is one of `KINDS`."""
    background = background_color(recipe)
    frame = scene.render(cameras.to(recipe.prior.device), background)
    return pixels(KINDS[kind](frame, cameras, background)[0])


def flat(images: Float[Tensor, "N 3 h w"], height: int, width: int) -> Pixels:
    """Flat images side by side, as large as they fit on white."""
    from PIL import Image

    sheet = Image.fromarray(pixels(grid(enlarge(images.detach().cpu().clamp(0, 1), 128))))
    factor = (1 - 2 * MARGIN) * min(height / sheet.height, width / sheet.width)
    sheet = sheet.resize((max(1, round(factor * sheet.width)), max(1, round(factor * sheet.height))))
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(sheet, ((width - sheet.width) // 2, (height - sheet.height) // 2))
    return np.asarray(canvas)


def plain(recipe: Recipe) -> Pixels:
    """The background color, behind splats and meshes."""
    return pixels(background_color(recipe)[:, None, None].expand(3, 2, 2))


def splats(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """Splats as viser takes them: centers, covariances, and the color of degree 0, the same from every side."""
    axes = rotation_matrices(gaussians.rotations) * gaussians.stds[:, None]
    parts = {
        "centers": gaussians.means,
        "covariances": axes @ axes.transpose(1, 2),
        "rgbs": (0.5 + CONSTANT * gaussians.harmonics[:, 0]).clamp(0, 1),
        "opacities": gaussians.opacities[:, None],
    }
    return {name: part.detach().float().cpu().numpy() for name, part in parts.items()}


def pixels(rgb: Float[Tensor, "3 H W"]) -> Pixels:
    """sRGB in [0, 1] as bytes, rounded as in the PNG files."""
    found = rgb.detach().float().nan_to_num(0, 0, 0).clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(found.permute(1, 2, 0).cpu().numpy())


def _depth(frame: Frame, cameras: Cameras, background: Tensor) -> Tensor:
    """Near is white and far black, over black, in a range about the origin, so that nothing flickers."""
    nearest = float(cameras.radius[0]) - DEPTH
    near = 1 - (frame.depth - nearest) / (2 * DEPTH)
    return (frame.opacity * near.clamp(0, 1)).expand_as(frame.rgb)


KINDS: dict[str, Callable[[Frame, Cameras, Tensor], Tensor]] = {
    "color": lambda frame, cameras, background: frame.rgb,
    "normals": lambda frame, cameras, background: normal_image(frame, background),
    "depth": _depth,
    "opacity": lambda frame, cameras, background: frame.opacity.expand_as(frame.rgb),
}
