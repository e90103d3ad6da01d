"""A perceptron with one hidden layer and few inputs, at very many points (Mueller et al. 2022, section 4).

N points   K inputs   H hidden units   O outputs
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels import backend

MOST_INPUTS, MOST_OUTPUTS = 64, 4
"""What the fast twin has room for."""


def perceptron(
    x: Float[Tensor, "N K"], first: Float[Tensor, "H K"], second: Float[Tensor, "O H"]
) -> Float[Tensor, "N O"]:
    """y = second relu(first x), differentiable in all three.

    The fast twin is for CPUs, where it never writes the hidden layer to memory; a GPU multiplies matrices better.
    """
    small = x.shape[1] <= MOST_INPUTS and len(second) <= MOST_OUTPUTS and len(first) % 2 == 0
    if small and x.device.type == "cpu" and backend.fast(x, first, second):
        from scoredistill.kernels.warp.perceptron import Perceptron

        return Perceptron.apply(x, first, second)
    return reference(x, first, second)


def reference(
    x: Float[Tensor, "N K"], first: Float[Tensor, "H K"], second: Float[Tensor, "O H"]
) -> Float[Tensor, "N O"]:
    """`perceptron` in plain torch."""
    return torch.relu(x @ first.T) @ second.T
