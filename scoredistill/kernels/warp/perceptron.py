"""The fast twin of `kernels.perceptron` for CPUs: 32 points per iteration, the hidden layer in registers.

N points   K inputs   H hidden units   O outputs   a kernel index is a chunk of points
x and its gradient are planes [K N], the layout in which the hash grid writes its features.
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels.backend import launch, reference_gradients
from scoredistill.kernels.types import MAX_INPUTS, MAX_OUTPUTS

wp.set_module_options({"enable_backward": False})

LANES = 32
"""Points per iteration: two of the widest registers, so that consecutive sums are independent."""
CHUNK = 4096
"""Points per chunk. Each chunk sums its own gradients of the matrices, so they do not depend on the thread count."""

OPEN = f"""
    typedef float lanes __attribute__((ext_vector_type({LANES})));
    typedef lanes unaligned __attribute__((aligned(4)));
    const int inputs = first.shape[1], hidden = first.shape[0], outputs = second.shape[0];
    const size_t count = x.shape[1];
    const int end = wp::min((chunk + 1) * {CHUNK}, x.shape[1]);
    for (int start = chunk * {CHUNK}; start < end; start += {LANES}) {{
        const int width = wp::min({LANES}, end - start);
        lanes in[{MAX_INPUTS}], to_in[{MAX_INPUTS}], out[{MAX_OUTPUTS}];
        for (int k = 0; k < inputs; ++k) {{
            const float* plane = x.data + k * count + start;
            in[k] = to_in[k] = 0;
            if (width == {LANES}) {{
                in[k] = *(const unaligned*)plane;
            }} else {{
                for (int j = 0; j < width; ++j) {{
                    ((float*)(in + k))[j] = plane[j];
                }}
            }}
        }}
        for (int o = 0; o < outputs; ++o) {{
            out[o] = 0;
            for (int j = 0; j < width; ++j) {{
                ((float*)(out + o))[j] = y.data[(start + j) * outputs + o];
            }}
        }}
        for (int h = 0; h < hidden; h += 2) {{
            const float *even = first.data + h * inputs, *odd = even + inputs;
            lanes a = 0, b = 0;
            for (int k = 0; k < inputs; ++k) {{
                a += even[k] * in[k];
                b += odd[k] * in[k];
            }}
"""
"""Opens the loop over the points of a chunk, reads their inputs and outputs, and computes two hidden units at once."""

FORWARD = """
            a = a > 0 ? a : 0;
            b = b > 0 ? b : 0;
            for (int o = 0; o < outputs; ++o) {
                out[o] += second.data[o * hidden + h] * a + second.data[o * hidden + h + 1] * b;
            }
        }
        for (int o = 0; o < outputs; ++o) {
            for (int j = 0; j < width; ++j) {
                y.data[(start + j) * outputs + o] = ((float*)(out + o))[j];
            }
        }
    }
"""

BACKWARD = f"""
            typedef float half __attribute__((ext_vector_type({LANES // 2})));
            half* sums = (half*)(matrices.data + (size_t)chunk * matrices.shape[1] * {LANES // 2});
            lanes to_a = 0, to_b = 0;
            for (int o = 0; o < outputs; ++o) {{
                to_a += second.data[o * hidden + h] * out[o];
                to_b += second.data[o * hidden + h + 1] * out[o];
                const lanes of_a = (a > 0 ? a : 0) * out[o], of_b = (b > 0 ? b : 0) * out[o];
                sums[(inputs + o) * hidden + h] += of_a.lo + of_a.hi;
                sums[(inputs + o) * hidden + h + 1] += of_b.lo + of_b.hi;
            }}
            to_a = a > 0 ? to_a : 0;
            to_b = b > 0 ? to_b : 0;
            for (int k = 0; k < inputs; ++k) {{
                to_in[k] += even[k] * to_a + odd[k] * to_b;
                sums[h * inputs + k] += to_a.lo * in[k].lo + to_a.hi * in[k].hi;
                sums[(h + 1) * inputs + k] += to_b.lo * in[k].lo + to_b.hi * in[k].hi;
            }}
        }}
        for (int k = 0; k < inputs; ++k) {{
            float* plane = to_x.data + k * count + start;
            if (width == {LANES}) {{
                *(unaligned*)plane = to_in[k];
            }} else {{
                for (int j = 0; j < width; ++j) {{
                    plane[j] = ((float*)(to_in + k))[j];
                }}
            }}
        }}
    }}
"""


@wp.func_native(OPEN + FORWARD)
@no_type_check
def forward_chunk(
    chunk: int,
    x: wp.array2d[float],
    first: wp.array2d[float],
    second: wp.array2d[float],
    y: wp.array2d[float],
): ...


@wp.func_native(OPEN + BACKWARD)
@no_type_check
def backward_chunk(
    chunk: int,
    x: wp.array2d[float],
    first: wp.array2d[float],
    second: wp.array2d[float],
    y: wp.array2d[float],
    to_x: wp.array2d[float],
    matrices: wp.array3d[float],
): ...


@wp.kernel
@no_type_check
def forward(
    begin: int,
    x: wp.array2d[float],
    first: wp.array2d[float],
    second: wp.array2d[float],
    y: wp.array2d[float],
):
    forward_chunk(begin + wp.tid(), x, first, second, y)


@wp.kernel
@no_type_check
def backward(
    begin: int,
    x: wp.array2d[float],
    first: wp.array2d[float],
    second: wp.array2d[float],
    y: wp.array2d[float],
    to_x: wp.array2d[float],
    matrices: wp.array3d[float],
):
    backward_chunk(begin + wp.tid(), x, first, second, y, to_x, matrices)


class Perceptron(torch.autograd.Function):
    """`kernels.perceptron.perceptron`; second derivatives use `reference`, the same function in torch."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "N K"],
        first: Float[Tensor, "H K"],
        second: Float[Tensor, "O H"],
        reference: Callable[..., Tensor],
    ) -> Float[Tensor, "N O"]:
        ctx.save_for_backward(x, first, second)
        ctx.reference = reference
        y = x.new_zeros(len(x), len(second))
        launch(forward, _chunks(x), [*_contiguous(x, first, second), y], x.device, min_slice=1)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Float[Tensor, "N O"]) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, first, second = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *reference_gradients(ctx.reference, (x, first, second), grad), None
        to_planes = x.new_empty(x.T.shape)
        matrices = x.new_zeros(_chunks(x), first.numel() + second.numel(), LANES // 2)
        arguments = [*_contiguous(x, first, second), grad.contiguous(), to_planes, matrices]
        launch(backward, _chunks(x), arguments, x.device, min_slice=1)
        to_first, to_second = matrices.sum((0, 2)).split([first.numel(), second.numel()])
        return to_planes.T, to_first.view_as(first), to_second.view_as(second), None


def _chunks(x: Tensor) -> int:
    return -(-len(x) // CHUNK)


def _contiguous(x: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Planes of the inputs, and the matrices, in the kernels' layout; copied only if necessary."""
    return x.T.contiguous(), first.contiguous(), second.contiguous()
