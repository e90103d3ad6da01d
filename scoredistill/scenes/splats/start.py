"""Initial splats: a ball of random points, or points on the surface of a mesh."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Gaussians
from scoredistill.render.harmonics import constant
from scoredistill.scenes.splats.mesh_file import GRAY, Triangles, areas

NEIGHBORS = 3
"""Neighbors whose mean distance is a splat's initial standard deviation (Kerbl et al. 2023)."""


def ball(count: int, radius: float, opacity: float, degree: int, rng: torch.Generator) -> Gaussians:
    """`count` gray splats, evenly in a ball around the origin."""
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng), dim=-1)
    distance = radius * torch.rand(count, 1, generator=rng) ** (1 / 3)
    return at_points(distance * direction, torch.full((count, 3), GRAY), opacity, degree)


def at_points(points: Float[Tensor, "N 3"], rgb: Float[Tensor, "N 3"], opacity: float, degree: int) -> Gaussians:
    """Round splats as large as the distance to the nearest three others (root mean square); ValueError for too few."""
    from scipy.spatial import KDTree

    if len(points) <= NEIGHBORS:
        raise ValueError(f"at least {NEIGHBORS + 1} initial splats are needed, got {len(points)}; raise --scene.count")
    distance = KDTree(points.numpy()).query(points.numpy(), NEIGHBORS + 1)[0][:, 1:]
    std = torch.from_numpy(np.sqrt((distance**2).mean(1))).to(points).clamp(min=1e-4)
    harmonics = torch.zeros(len(points), (degree + 1) ** 2, 3)
    harmonics[:, 0] = constant(rgb)
    rotations = torch.zeros(len(points), 4)
    rotations[:, 0] = 1
    return Gaussians(points, std[:, None].repeat(1, 3), rotations, torch.full((len(points),), opacity), harmonics)


def on_mesh(mesh: Triangles, count: int, opacity: float, degree: int, rng: torch.Generator) -> Gaussians:
    """`count` splats, evenly on the surface of a mesh, in its colors."""
    corners, rgb = mesh.corners, mesh.rgb
    face = torch.multinomial(areas(corners), count, replacement=True, generator=rng)
    root, share = torch.rand(2, count, 1, generator=rng)
    root = root.sqrt()  # evenly over each triangle (Turk 1990)
    weight = torch.stack([1 - root, root * (1 - share), root * share], 1)
    points, colors = (corners[face] * weight).sum(1), (rgb[face] * weight).sum(1)
    return at_points(points, colors, opacity, degree)
