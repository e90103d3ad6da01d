"""From a volume to a colored triangle mesh, by marching cubes on its density.

R samples a side   V vertices   F faces   `cell` distance between samples   `level` density on the surface
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.contracts import Field
from scoredistill.export.threshold import render_threshold

CHUNK = 1 << 18  # points per call of the field: tens of megabytes for a hash grid with small networks
BISECTIONS = 8  # a vertex is settled to 1/256 of a cell

Density = Callable[[Tensor], Tensor]  # points [N 3] -> [N]


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the world's frame (y up, front +z), on the CPU."""

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]  # counter-clockwise seen from outside
    normals: Float[Tensor, "V 3"]  # unit, outward
    colors: Float[Tensor, "V 3"]  # in [0, 1], as shown on a display (sRGB)


@torch.no_grad()
def extract(
    field: Field,
    *,
    resolution: int = 128,
    threshold: float | None = None,
    keep: float = 0.1,
    device: torch.device | str = "cpu",
) -> Mesh:
    """The level set density = threshold of `field`, sampled at `resolution` points a side.

    Without `threshold`, `render_threshold` chooses it. Vertices are settled on the true density, so that
    their positions do not depend on how steeply it rises between samples. Connected pieces smaller than
    `keep` times the size (cube root of the volume) of the largest are floaters and dropped; so are the walls
    of cavities, which nobody sees. A vertex gets the color that a ray along its normal would render. `device`
    is where the field lives.

    ValueError where there is nothing to see, or no surface at the given threshold.
    """
    density = _walled(field)
    axis, cell = _axis(field.bounds, resolution, device)
    grid = _sample(density, axis)
    if not bool(torch.isfinite(grid).all()):
        raise ValueError("cannot make a mesh: the density is not finite (NaN or infinity); the run diverged")
    level = render_threshold(grid, cell) if threshold is None else threshold
    peak = float(grid.max())
    if not 0 < level < peak:
        raise ValueError(
            f"cannot make a mesh: no surface at threshold {level:g}, the density lies in [0, {peak:.3g}]; "
            "choose a threshold inside, or none for an automatic one"
        )
    low, high, faces = _march(grid, axis, level)
    vertices, faces = _without_floaters(_settle(density, low, high, level), faces, keep)
    normals = vertex_normals(vertices, faces)
    colors = _seen_colors(field, density, vertices, normals, cell)
    return Mesh(vertices.cpu(), faces.cpu(), normals.cpu(), colors.cpu())


def _walled(field: Field) -> Density:
    """The field's density inside its cube and zero outside, so that every surface closes at the walls."""

    def density(points: Tensor) -> Tensor:
        inside = (points.abs() <= field.bounds).all(-1)
        return field.density(points).float().where(inside, 0)

    return density


def _axis(bounds: float, resolution: int, device: torch.device | str) -> tuple[Tensor, float]:
    """Positions of the samples from wall to wall and one beyond each wall, and their distance."""
    cell = 2 * bounds / (resolution - 1)
    return cell * (torch.arange(-1, resolution + 1, device=device) - 0.5 * (resolution - 1)), cell


def _sample(density: Density, axis: Tensor) -> Float[Tensor, "R R R"]:
    """Density on the grid axis x axis x axis."""
    size = len(axis)
    chunks = torch.arange(size**3, device=axis.device).split(CHUNK)
    values = [density(axis[torch.stack([i // size**2, i // size % size, i % size], -1)]) for i in chunks]
    return torch.cat(values).reshape(size, size, size)


def _march(grid: Float[Tensor, "R R R"], axis: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Marching cubes: both ends [V 3] of the grid edge that each vertex lies on, and the faces [F 3]."""
    import mcubes

    # tanh(log(density / level) / 2): bounded, and odd in the logarithm of the density
    contrast = (grid - level) / (grid + level)
    index, faces = mcubes.marching_cubes(contrast.cpu().double().numpy(), 0.0)
    position = torch.from_numpy(index)
    low, high = (axis[end.long().to(axis.device)] for end in (position.floor(), position.ceil()))
    return low, high, torch.from_numpy(faces.astype(np.int64)).to(axis.device)


def _settle(
    density: Density, low: Float[Tensor, "V 3"], high: Float[Tensor, "V 3"], level: float
) -> Float[Tensor, "V 3"]:
    """Bisect each grid edge low-high for the point where the density crosses `level`."""
    upward = (_chunked(density, high) >= _chunked(density, low))[:, None]
    outside, inside = low.where(upward, high), high.where(upward, low)
    for _ in range(BISECTIONS):
        middle = 0.5 * (outside + inside)
        solid = (_chunked(density, middle) >= level)[:, None]
        outside, inside = outside.where(solid, middle), middle.where(solid, inside)
    return 0.5 * (outside + inside)


def _chunked(function: Callable[[Tensor], Tensor], points: Float[Tensor, "N 3"]) -> Tensor:
    return torch.cat([function(chunk) for chunk in points.split(CHUNK)])


def _without_floaters(vertices: Tensor, faces: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """Drop the pieces whose signed volume is below keep^3 times the largest; that of a cavity is negative."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b, c = faces.cpu().numpy().T
    links = np.ones(2 * len(a), dtype=bool), (np.concatenate([a, b]), np.concatenate([b, c]))
    count, labels = connected_components(coo_array(links, shape=(len(vertices), len(vertices))), directed=False)
    piece = torch.from_numpy(labels).to(faces.device).long()
    volume = torch.linalg.det(vertices[faces].double()) / 6  # of the tetrahedron over each face, signed
    volumes = volume.new_zeros(count).index_add(0, piece[faces[:, 0]], volume)
    kept = (volumes >= keep**3 * volumes.max())[piece]
    renumbered = kept.cumsum(0) - 1
    return vertices[kept], renumbered[faces[kept[faces[:, 0]]]]


def vertex_normals(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "V 3"]:
    """Unit normals at the vertices: the mean of the adjoining faces' normals, weighted by their areas."""
    a, b, c = vertices[faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices).index_add(0, faces.flatten(), normal.repeat_interleave(3, 0))
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def _seen_colors(
    field: Field, density: Density, vertices: Tensor, normals: Tensor, cell: float
) -> Float[Tensor, "V 3"]:
    """Volume-render the color along each normal, from one cell outside to three inside, in half cells.

    sum_k w_k color_k / sum_k w_k, w_k = exp(-sum_{j<k} density_j step) (1 - exp(-density_k step)): what a
    render shows, where the color at the very vertex may belong to a thin skin that no view ever trained.
    """
    step = 0.5 * cell
    offsets = cell - step * torch.arange(9, device=vertices.device)
    points = vertices[:, None] + offsets[:, None] * normals[:, None]  # [V 9 3]
    optical = step * _chunked(density, points.flatten(0, 1)).reshape(points.shape[:2])
    weights = torch.exp(optical - optical.cumsum(1)) * -torch.expm1(-optical) + 1e-6  # never all zero
    colors = _chunked(field.color, points.flatten(0, 1)).float().reshape(points.shape)
    return ((weights[..., None] * colors).sum(1) / weights.sum(1, keepdim=True)).clamp(0, 1)
