"""Triangles as they are seen: one exact ray through each pixel's center, the nearest face wins.

B views   V vertices   F faces   M pairs of a face and a pixel that it may cover
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.camera import Cameras

PAIRS = 1 << 20  # pairs at once: some hundred megabytes


@dataclass(frozen=True)
class Hits:
    """The face that each pixel shows (-1 for none) and the weights of its three corners there."""

    face: Int[Tensor, "*B H W"]
    weights: Float[Tensor, "*B H W 3"]

    def interpolate(self, values: Float[Tensor, "V C"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "*B H W C"]:
        """Values of the vertices, linear over each face in space (perspective-correct); zero where there is none."""
        return (self.weights[..., None] * values[faces[self.face.clamp(min=0)]]).sum(-2)


def see(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], cameras: Cameras) -> Hits:
    """What cameras see of a mesh, from both sides of its faces; they may stand inside it."""
    views = []
    for c2w, K in zip(cameras.c2w.double(), cameras.intrinsics().double(), strict=True):
        local = (vertices.double() - c2w[:3, 3]) @ c2w[:3, :3]
        views.append(cover((local @ K.T)[faces], cameras.height, cameras.width))
    return Hits(torch.stack([view.face for view in views]), torch.stack([view.weights for view in views]))


def cover(corners: Float[Tensor, "F 3 3"], height: int, width: int) -> Hits:
    """Triangles on a picture; corners are (x z, y z, z), pixels x and y from the top left corner, depth z.

    With corners a, b, c and the ray r = (x, y, 1): r.(b x c), r.(c x a) and r.(a x b) have one sign where the ray
    meets the triangle, are in the ratio of the weights, and det(a, b, c) over their sum is z (Olano and Greer 1997,
    section 2). Nothing is clipped. Faces that share an edge leave no gap: they find the same numbers, negated.
    """
    corners = corners.double()
    a, b, c = corners.unbind(1)
    edges = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1)
    volume = (a * edges[:, 0]).sum(-1)
    nearest = corners.new_full((height * width,), torch.inf)
    face = torch.full((height * width,), -1, device=corners.device)
    for index, pixel in _pairs(corners, height, width):
        parts = _parts(edges[index], pixel, width)
        depth = volume[index] / parts.sum(-1)
        met = ((parts >= 0).all(-1) | (parts <= 0).all(-1)) & (depth > 0) & depth.isfinite()
        index, pixel, depth = index[met], pixel[met], depth[met]
        nearest.scatter_reduce_(0, pixel, depth, "amin")
        won = depth == nearest[pixel]
        face[pixel[won]] = index[won]
    parts = _parts(edges[face.clamp(min=0)], torch.arange(height * width, device=face.device), width)
    weights = (parts / parts.sum(-1, keepdim=True)).where((face >= 0)[:, None], 0.0)
    return Hits(face.view(height, width), weights.view(height, width, 3).float())


def _parts(edges: Float[Tensor, "M 3 3"], pixel: Int[Tensor, "M"], width: int) -> Float[Tensor, "M 3"]:
    """The weights of the corners, times their sum, on the ray through the center of each pixel."""
    x, y = ((pixel % width) + 0.5).double(), (pixel // width + 0.5).double()
    return edges[:, :, 0] * x[:, None] + edges[:, :, 1] * y[:, None] + edges[:, :, 2]


def _pairs(corners: Float[Tensor, "F 3 3"], height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Each face with every pixel whose center lies in its bounding box, in portions of about `PAIRS`.

    A face that reaches behind the camera may cover any pixel.
    """
    side = torch.tensor([width, height], device=corners.device)
    before = (corners[..., 2] > 0).all(-1)[:, None]
    place = corners[..., :2] / corners[..., 2:]
    first = (place.amin(1) - 0.5).ceil().where(before, 0.0)
    last = (place.amax(1) - 0.5).floor().where(before, side.double())
    first = first.clamp(min=0).minimum(side.double()).long()
    extent = (last.clamp(min=-1).minimum(side - 1.0).long() + 1 - first).clamp(min=0)
    count = extent.prod(-1)
    ends = count.cumsum(0)
    for portion in range(int(count.sum()) // PAIRS + 1):
        chosen = (ends // PAIRS == portion).nonzero()[:, 0]
        some = count[chosen]
        index = chosen.repeat_interleave(some)
        rank = torch.arange(len(index), device=index.device) - (some.cumsum(0) - some).repeat_interleave(some)
        across = extent[index, 0]
        yield index, (first[index, 1] + rank // across) * width + first[index, 0] + rank % across
