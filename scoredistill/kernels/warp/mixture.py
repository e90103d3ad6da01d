"""Sums of 3-D Gaussians in warp, one thread a point: the fast twin of `kernels/mixture.py`."""

# pyright: reportInvalidTypeForm=false, reportOperatorIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# (kernels are written in warp's language, which only looks like Python)

from __future__ import annotations

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels import mixture as constants
from scoredistill.kernels.backend import launch
from scoredistill.kernels.mixture import CHANNELS, Mixture

wp.set_module_options({"enable_backward": False})

CELLS = wp.constant(constants.CELLS)
FARTHEST = wp.constant(constants.REACH**2)


@wp.kernel
@no_type_check
def add(
    first: int,
    points: wp.array[wp.vec3],
    means: wp.array[wp.vec3],
    whiten: wp.array[wp.mat33],
    values: wp.array[wp.vec4],
    near: wp.array[int],
    start: wp.array[int],
    bounds: float,
    total: wp.array[wp.vec4],
):
    """The sum at one point."""
    index = first + wp.tid()
    point = points[index]
    place = wp.int32(0)
    for axis in range(3):
        along = int(wp.floor((point[axis] / bounds + 1.0) * 0.5 * float(CELLS)))
        place = place * CELLS + wp.clamp(along, 0, CELLS - 1)
    found = wp.vec4()
    for j in range(start[place], start[place + 1]):
        i = near[j]
        away = whiten[i] @ (point - means[i])
        q = wp.dot(away, away)
        if q < FARTHEST:
            found += wp.exp(-0.5 * q) * values[i]
    total[index] = found


def evaluate(blobs: Mixture, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
    """`kernels.mixture.evaluate` in float32, on a CPU or on CUDA."""
    total = torch.empty(len(points), CHANNELS, device=points.device)
    known = [blobs.means, blobs.whiten, blobs.values]
    arguments = [points.contiguous(), *(tensor.contiguous() for tensor in known), blobs.near, blobs.start]
    launch(add, len(points), [*arguments, blobs.bounds, total], points.device)
    return total
