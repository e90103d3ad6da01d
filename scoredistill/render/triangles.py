"""Rasterization of triangles: one exact ray through the center of each pixel, the nearest face is visible.

B views   V vertices   F faces   M pairs of a face and a pixel that it may cover
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.camera import Cameras

PAIRS = 1 << 20  # pairs per batch: a few hundred megabytes


@dataclass(frozen=True)
class Hits:
    """The visible face of each pixel (-1 for none) and the barycentric weights of its three corners."""

    face: Int[Tensor, "*B H W"]
    weights: Float[Tensor, "*B H W 3"]

    def interpolate(self, values: Float[Tensor, "V C"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "*B H W C"]:
        """Vertex values interpolated over each face (perspective-correct); zero for pixels without a face."""
        return (self.weights[..., None] * values[faces[self.face.clamp(min=0)]]).sum(-2)


def rasterize_mesh(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], cameras: Cameras) -> Hits:
    """Visible faces of a mesh in each camera. Both sides of a face are visible, and cameras may be inside the mesh."""
    views = []
    for c2w, K in zip(cameras.c2w.double(), cameras.intrinsics().double(), strict=True):
        local = (vertices.double() - c2w[:3, 3]) @ c2w[:3, :3]
        views.append(rasterize_triangles((local @ K.T)[faces], cameras.height, cameras.width))
    return Hits(torch.stack([view.face for view in views]), torch.stack([view.weights for view in views]))


def rasterize_triangles(corners: Float[Tensor, "F 3 3"], height: int, width: int) -> Hits:
    """Visible triangles of an image; corners are (x z, y z, z), pixels x and y from the top left corner, depth z.

    With corners a, b, c and the ray r = (x, y, 1): r.(b x c), r.(c x a) and r.(a x b) have the same sign if the ray
    meets the triangle, are proportional to the barycentric weights, and det(a, b, c) over their sum is z (Olano and
    Greer 1997, section 2). No clipping is needed. Faces that share an edge leave no gap: they compute the same numbers
    with opposite sign.
    """
    corners = corners.double()
    a, b, c = corners.unbind(1)
    edges = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1)
    volume = (a * edges[:, 0]).sum(-1)
    nearest = corners.new_full((height * width,), torch.inf)
    face = torch.full((height * width,), -1, device=corners.device)
    for index, pixel in _pairs(corners, height, width):
        parts = _edge_functions(edges[index], pixel, width)
        depth = volume[index] / parts.sum(-1)
        hit = ((parts >= 0).all(-1) | (parts <= 0).all(-1)) & (depth > 0) & depth.isfinite()
        index, pixel, depth = index[hit], pixel[hit], depth[hit]
        nearest.scatter_reduce_(0, pixel, depth, "amin")
        visible = depth == nearest[pixel]
        face[pixel[visible]] = index[visible]
    parts = _edge_functions(edges[face.clamp(min=0)], torch.arange(height * width, device=face.device), width)
    weights = (parts / parts.sum(-1, keepdim=True)).where((face >= 0)[:, None], 0.0)
    return Hits(face.view(height, width), weights.view(height, width, 3).float())


def _edge_functions(edges: Float[Tensor, "M 3 3"], pixel: Int[Tensor, "M"], width: int) -> Float[Tensor, "M 3"]:
    """Unnormalized barycentric weights of the corners on the ray through the center of each pixel."""
    x, y = ((pixel % width) + 0.5).double(), (pixel // width + 0.5).double()
    return edges[:, :, 0] * x[:, None] + edges[:, :, 1] * y[:, None] + edges[:, :, 2]


def _pairs(corners: Float[Tensor, "F 3 3"], height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of a face and a pixel whose center lies in the face's bounding box, in batches of about `PAIRS`.

    A face that extends behind the camera is paired with all pixels.
    """
    side = torch.tensor([width, height], device=corners.device)
    in_front = (corners[..., 2] > 0).all(-1)[:, None]
    place = corners[..., :2] / corners[..., 2:]
    first = (place.amin(1) - 0.5).ceil().where(in_front, 0.0)
    last = (place.amax(1) - 0.5).floor().where(in_front, side.double())
    first = first.clamp(min=0).minimum(side.double()).long()
    extent = (last.clamp(min=-1).minimum(side - 1.0).long() + 1 - first).clamp(min=0)
    count = extent.prod(-1)
    ends = count.cumsum(0)
    for batch in range(int(count.sum()) // PAIRS + 1):
        chosen = (ends // PAIRS == batch).nonzero()[:, 0]
        some = count[chosen]
        index = chosen.repeat_interleave(some)
        rank = torch.arange(len(index), device=index.device) - (some.cumsum(0) - some).repeat_interleave(some)
        across = extent[index, 0]
        yield index, (first[index, 1] + rank // across) * width + first[index, 0] + rank % across
