"""Sums of 3D Gaussians in warp, one thread per point: the fast twin of `kernels/mixture.py`."""

# pyright: reportInvalidTypeForm=false, reportOperatorIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels import types
from scoredistill.kernels.backend import launch
from scoredistill.kernels.types import MIXTURE_CHANNELS, Mixture

wp.set_module_options({"enable_backward": False})

CELLS = wp.constant(types.CELLS)
SQUARED_REACH = wp.constant(types.REACH**2)


@wp.kernel
@no_type_check
def evaluate_point(
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
    """Evaluate the sum at one point."""
    index = first + wp.tid()
    point = points[index]
    place = wp.int32(0)
    for axis in range(3):
        along = int(wp.floor((point[axis] / bounds + 1.0) * 0.5 * float(CELLS)))
        place = place * CELLS + wp.clamp(along, 0, CELLS - 1)
    result = wp.vec4()
    for j in range(start[place], start[place + 1]):
        i = near[j]
        offset = whiten[i] @ (point - means[i])
        q = wp.dot(offset, offset)
        if q < SQUARED_REACH:
            result += wp.exp(-0.5 * q) * values[i]
    total[index] = result


def evaluate(gaussians: Mixture, points: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
    """`kernels.mixture.evaluate` in float32, on a CPU or on CUDA."""
    total = torch.empty(len(points), MIXTURE_CHANNELS, device=points.device)
    parameters = [gaussians.means, gaussians.whiten, gaussians.values]
    arguments = [points.contiguous(), *(tensor.contiguous() for tensor in parameters), gaussians.near, gaussians.start]
    launch(evaluate_point, len(points), [*arguments, gaussians.bounds, total], points.device)
    return total
