"""A perceptron with one hidden layer and few inputs, at very many points (Mueller et al. 2022, section 4).

N points   K inputs   H hidden units   O outputs
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.types import MAX_INPUTS, MAX_OUTPUTS


def perceptron(
    x: Float[Tensor, "N K"], first: Float[Tensor, "H K"], second: Float[Tensor, "O H"]
) -> Float[Tensor, "N O"]:
    """y = second relu(first x), differentiable in all three.

    The fast twin is for CPUs, where it does not write the hidden layer to memory; on a GPU, torch's matrix products
    are faster.
    """
    small = x.shape[1] <= MAX_INPUTS and len(second) <= MAX_OUTPUTS and len(first) % 2 == 0
    if small and x.device.type == "cpu" and backend.use_warp(x, first, second):
        from scoredistill.kernels.warp.perceptron import Perceptron

        return Perceptron.apply(x, first, second, reference)
    return reference(x, first, second)


def reference(
    x: Float[Tensor, "N K"], first: Float[Tensor, "H K"], second: Float[Tensor, "O H"]
) -> Float[Tensor, "N O"]:
    """`perceptron` in plain torch."""
    return torch.relu(x @ first.T) @ second.T
