"""Initial splats: a ball of random points, or points on the surface of a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Gaussians
from scoredistill.render.harmonics import constant

NEIGHBORS = 3
"""Neighbors whose mean distance is a splat's initial standard deviation (Kerbl et al. 2023)."""
GRAY = 0.5


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


def on_mesh(path: Path, count: int, opacity: float, degree: int, rng: torch.Generator) -> Gaussians:
    """`count` splats, evenly on the surface of a mesh in the world's frame (y up, front +z), in its colors.

    ValueError where the file holds no mesh.
    """
    import trimesh

    try:
        scene = trimesh.load_scene(path)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{path} is no mesh that splats can start from ({error})") from None
    corners, rgb = [], []
    for place, name in (scene.graph[node] for node in scene.graph.nodes_geometry):
        piece = scene.geometry[name]
        if isinstance(piece, trimesh.Trimesh):
            corners.append(torch.tensor(trimesh.transform_points(piece.vertices, place)[piece.faces]).float())
            rgb.append(_colors(piece)[torch.tensor(piece.faces).long()])
    if not corners:
        raise ValueError(f"{path} holds no triangles that splats can start from")
    return _scattered(torch.cat(corners), torch.cat(rgb), count, opacity, degree, rng)


def _scattered(
    corners: Float[Tensor, "F 3 3"],
    rgb: Float[Tensor, "F 3 3"],
    count: int,
    opacity: float,
    degree: int,
    rng: torch.Generator,
) -> Gaussians:
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    face = torch.multinomial(area, count, replacement=True, generator=rng)
    root, share = torch.rand(2, count, 1, generator=rng)
    root = root.sqrt()  # evenly over each triangle (Turk 1990)
    weight = torch.stack([1 - root, root * (1 - share), root * share], 1)
    points, colors = (corners[face] * weight).sum(1), (rgb[face] * weight).sum(1)
    return at_points(points, colors, opacity, degree)


def _colors(mesh: Any) -> Float[Tensor, "V 3"]:
    """Vertex colors as shown on a display; those of glTF are linear light, those of other files and textures not."""
    visual = mesh.visual
    attributes = getattr(visual, "vertex_attributes", {})
    if "color" in attributes:  # beside a material, as trimesh reads glTF
        return displayed(torch.from_numpy(attributes["color"][:, :3].astype(np.float32)))
    if not visual.defined:
        return torch.full((len(mesh.vertices), 3), GRAY)
    shown = (visual.to_color() if visual.kind == "texture" else visual).vertex_colors[:, :3]
    return torch.from_numpy(shown.astype(np.float32) / 255)


def displayed(linear: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Linear light in [0, 1] to display values (IEC 61966-2-1)."""
    return (12.92 * linear).where(linear <= 0.0031308, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)
