"""A perceptron with one hidden layer and few inputs, at very many points (Mueller et al. 2022, section 4).

N points   K inputs   H hidden units   O outputs
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.types import HIDDEN_STEP, MAX_INPUTS, MAX_OUTPUTS


def perceptron(
    x: Float[Tensor, "N K"], first: Float[Tensor, "H K"], second: Float[Tensor, "O H"]
) -> Float[Tensor, "N O"]:
    """y = second relu(first x), twice differentiable in all three."""
    if uses_warp(x, first, second):
        from scoredistill.kernels.warp.perceptron import Perceptron

        return Perceptron.apply(x, first, second)
    return reference(x, first, second)


def input_gradient(
    x: Float[Tensor, "N K"],
    first: Float[Tensor, "H K"],
    second: Float[Tensor, "O H"],
    grad_output: Float[Tensor, "N O"],
) -> Float[Tensor, "N K"]:
    """grad_output^T dy/dx: the gradient of the perceptron with respect to x; differentiable in the other three.

    The same as differentiating `perceptron` by autograd, without its output and the gradients to its matrices. It is
    constant in x almost everywhere, so x gets no gradient.
    """
    x = x.detach()
    if uses_warp(x, first, second, grad_output):
        from scoredistill.kernels.warp.perceptron import PerceptronBackward

        return PerceptronBackward.apply(x, first, second, grad_output, False)[0]
    return reference_input_gradient(x, first, second, grad_output)


def uses_warp(x: Tensor, first: Tensor, second: Tensor, *others: Tensor) -> bool:
    """Whether the fast twin is used: for small networks on CPUs, where it does not write the hidden layer to memory.

    On a GPU, torch's matrix products are faster.
    """
    small = x.shape[1] <= MAX_INPUTS and len(second) <= MAX_OUTPUTS and len(first) % HIDDEN_STEP == 0
    return small and x.device.type == "cpu" and backend.use_warp(x, first, second, *others)


def reference(
    x: Float[Tensor, "N K"], first: Float[Tensor, "H K"], second: Float[Tensor, "O H"]
) -> Float[Tensor, "N O"]:
    """`perceptron` in plain torch."""
    return torch.relu(x @ first.T) @ second.T


def reference_input_gradient(
    x: Float[Tensor, "N K"],
    first: Float[Tensor, "H K"],
    second: Float[Tensor, "O H"],
    grad_output: Float[Tensor, "N O"],
) -> Float[Tensor, "N K"]:
    """`input_gradient` in plain torch."""
    return ((x @ first.T > 0) * (grad_output @ second)) @ first
