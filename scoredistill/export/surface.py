"""The surface of a volume: the level set of its density, by marching cubes.

R samples per side   V vertices   F faces   `cell` distance between samples   `level` density on the surface
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.contracts import Field

CHUNK = 1 << 18  # points per evaluation of the field: tens of megabytes for a hash grid with small networks
BISECTIONS = 8  # a vertex is located to 1/256 of a cell


@dataclass(frozen=True)
class Sampled:
    """The density of a field on the grid axis x axis x axis, which extends one cell beyond the faces of its cube."""

    values: Float[Tensor, "R R R"]
    axis: Float[Tensor, "R"]
    cell: float


def sample(field: Field, resolution: int, device: torch.device | str) -> Sampled:
    """The density at `resolution` points per side of the cube, and at one point beyond each face."""
    cell = 2 * field.bounds / (resolution - 1)
    axis = cell * (torch.arange(-1, resolution + 1, device=device) - 0.5 * (resolution - 1))
    size = len(axis)
    planes = (torch.cartesian_prod(plane, axis, axis) for plane in axis.split(max(CHUNK // size**2, 1)))
    return Sampled(torch.cat([density(field, points) for points in planes]).view(size, size, size), axis, cell)


def filled(values: Float[Tensor, "R R R"]) -> slice:
    """The range, along each axis, of a cube around all nonzero samples and one more; it begins with an even index.

    Most of a volume is empty, so what is computed from this cube takes a fraction of the time.
    """
    present = values != 0
    across, along = present.any(0), present.any(2)
    index = torch.cat([flat.nonzero() for flat in (along.any(1), across.any(1), across.any(0))])
    if not len(index):
        return slice(None)
    return slice(max(int(index.min()) - 1, 0) // 2 * 2, int(index.max()) + 2)


def density(field: Field, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """The density of the field inside its cube and zero outside, so that every surface is closed."""
    inside = (points.abs() <= field.bounds).all(-1)
    return torch.cat([field.density(chunk).float() for chunk in points.split(CHUNK)]).where(inside, 0)


def level_set(field: Field, sampled: Sampled, level: float) -> tuple[Float[Tensor, "V 3"], Int[Tensor, "F 3"]]:
    """Vertices and faces of {density = level}, counter-clockwise seen from the side of lower density.

    Vertices are located by bisection on the density itself, so they do not depend on its profile between samples.
    """
    low, high, faces = _march(sampled, level)
    upward = (density(field, high) >= density(field, low))[:, None]
    outside, inside = low.where(upward, high), high.where(upward, low)
    for _ in range(BISECTIONS):
        middle = 0.5 * (outside + inside)
        solid = (density(field, middle) >= level)[:, None]
        outside, inside = outside.where(solid, middle), middle.where(solid, inside)
    return 0.5 * (outside + inside), faces


def _march(sampled: Sampled, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Marching cubes: both ends [V 3] of the grid edge of each vertex, and the faces [F 3]."""
    import mcubes

    some = filled(sampled.values)
    values, axis = sampled.values[some, some, some], sampled.axis[some]
    # tanh(log(density / level) / 2): bounded, and odd in the logarithm of the density
    contrast = (values - level) / (values + level)
    index, faces = mcubes.marching_cubes(contrast.cpu().double().numpy(), 0.0)
    position = torch.from_numpy(index)
    low, high = (axis[end.long().to(axis.device)] for end in (position.floor(), position.ceil()))
    return low, high, torch.from_numpy(faces.astype(np.int64)).to(axis.device)


def without_floaters(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], min_size: float
) -> tuple[Float[Tensor, "W 3"], Int[Tensor, "G 3"]]:
    """Remove pieces whose signed volume is below min_size^3 times the largest; that of a cavity is negative."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b, c = faces.cpu().numpy().T
    links = np.ones(2 * len(a), dtype=bool), (np.concatenate([a, b]), np.concatenate([b, c]))
    count, labels = connected_components(coo_array(links, shape=(len(vertices), len(vertices))), directed=False)
    piece = torch.from_numpy(labels).to(faces.device).long()
    volume = torch.linalg.det(vertices[faces].double()) / 6  # of the tetrahedron over each face, signed
    volumes = volume.new_zeros(count).index_add(0, piece[faces[:, 0]], volume)
    retained = (volumes >= min_size**3 * volumes.max())[piece]
    renumbered = retained.cumsum(0) - 1
    return vertices[retained], renumbered[faces[retained[faces[:, 0]]]]


def simplify(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], budget: int
) -> tuple[Float[Tensor, "W 3"], Int[Tensor, "G 3"]]:
    """Reduce to about `budget` faces by collapsing the edges that change the surface least (Garland and Heckbert 1997).

    The mesh is unchanged if it has no more faces or the budget is 0; ValueError if no face is left.
    """
    if not 0 < budget < len(faces):
        return vertices, faces
    from fast_simplification import simplify as collapse

    fewer = collapse(vertices.cpu().double().numpy(), faces.cpu().numpy(), target_count=budget)
    vertices, faces = _without_folds(torch.from_numpy(fewer[0]).to(vertices), torch.from_numpy(fewer[1]).to(faces))
    if not len(faces):
        raise ValueError(f"cannot simplify the mesh: no faces are left of the surface at {budget} faces; choose more")
    return vertices, faces


def _without_folds(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Remove pairs of faces that lie back to back (a collapsed thin wall): their normals would cancel."""
    _, same, copies = faces.sort(1).values.unique(dim=0, return_inverse=True, return_counts=True)
    faces = faces[copies[same] == 1]
    used, renumbered = faces.unique(return_inverse=True)
    return vertices[used], renumbered.view(-1, 3)


def vertex_normals(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "V 3"]:
    """Unit normals at the vertices: the mean of the adjoining faces' normals, weighted by their areas."""
    a, b, c = vertices[faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices).index_add(0, faces.flatten(), normal.repeat_interleave(3, 0))
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)
