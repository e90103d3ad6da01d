"""The fast twin of `kernels.perceptron` for CPUs: the output, its gradients, and the gradients of these.

N points   K inputs   H hidden units   O outputs
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from scoredistill.kernels.backend import launch
from scoredistill.kernels.warp.perceptron_native import CHUNK, LANES, backward, forward, second_derivatives

Grad = Tensor | None


class Perceptron(torch.autograd.Function):
    """`kernels.perceptron.perceptron`, differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "N K"], first: Float[Tensor, "H K"], second: Float[Tensor, "O H"]
    ) -> Float[Tensor, "N O"]:
        ctx.save_for_backward(x, first, second)
        y = x.new_empty(len(second), len(x))
        _launch(forward, x, [first, second], [y])
        return y.T

    @staticmethod
    def backward(ctx: Any, grad: Float[Tensor, "N O"]) -> tuple[Grad, ...]:  # type: ignore[override]
        return PerceptronBackward.apply(*ctx.saved_tensors, grad, any(ctx.needs_input_grad[1:]))


class PerceptronBackward(torch.autograd.Function):
    """The gradients of the perceptron to x and, with `matrices`, to its matrices, for the gradient of its output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "N K"],
        first: Float[Tensor, "H K"],
        second: Float[Tensor, "O H"],
        grad: Float[Tensor, "N O"],
        matrices: bool,
    ) -> tuple[Tensor, Grad, Grad]:
        ctx.save_for_backward(x, first, second, grad)
        ctx.set_materialize_grads(False)
        to_x, sums = x.new_empty(x.T.shape), _sums(x if matrices else x[:0], first, second)
        _launch(backward, x, [first, second, grad.T], [to_x, sums])
        to_first, to_second = _summed(sums, first, second) if matrices else (None, None)
        return to_x.T, to_first, to_second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Grad, p: Grad, q: Grad) -> tuple[Grad, ...]:  # type: ignore[override]
        """u [N K], p [H K] and q [O H] are the gradients with respect to the three outputs of `forward`."""
        x, first, second, grad = ctx.saved_tensors
        absent = x.new_empty(0, 0)
        to_x = x.new_empty(x.T.shape) if ctx.needs_input_grad[0] else absent
        to_grad, sums = x.new_empty(grad.T.shape), _sums(x, first, second)
        given = [absent if value is None else value for value in (None if u is None else u.T, p, q)]
        _launch(second_derivatives, x, [first, second, grad.T, *given], [to_x, sums, to_grad])
        return to_x.T if ctx.needs_input_grad[0] else None, *_summed(sums, first, second), to_grad.T, None


def _launch(kernel: Any, x: Float[Tensor, "N K"], inputs: list[Tensor], outputs: list[Tensor]) -> None:
    """Run a kernel for all chunks of points."""
    arguments = [*(value.contiguous() for value in [x.T, *inputs]), *outputs]
    launch(kernel, _chunks(x), arguments, x.device, min_slice=1)


def _chunks(x: Tensor) -> int:
    return -(-len(x) // CHUNK)


def _sums(x: Tensor, first: Tensor, second: Tensor) -> Float[Tensor, "chunks cells lanes"]:
    """Zeros to which the gradients of both matrices are added, for each chunk and lane."""
    return x.new_zeros(_chunks(x), first.numel() + second.numel(), LANES)


def _summed(sums: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of both matrices."""
    to_first, to_second = sums.sum((0, 2)).split([first.numel(), second.numel()])
    return to_first.view_as(first), to_second.view_as(second)
