"""The perceptron's first and second derivatives: the reference in double precision, and its fast twin, exactly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from scoredistill.kernels import backend
from scoredistill.kernels.perceptron import input_gradient, perceptron, uses_warp

SIZES = [
    (0, 12, 32, 1),
    (1, 12, 32, 3),
    (7, 3, 4, 4),
    (64, 32, 64, 1),
    (65, 2, 8, 2),
    (4161, 32, 64, 3),
    (100, 64, 12, 1),
]
"""Points, inputs, hidden units, outputs: no point, one, parts of a tile of 64 and of a chunk of 4096, most inputs."""
Size = tuple[int, int, int, int]
Function = Callable[..., Sequence[Tensor]]


def whole_numbers(size: Size, seed: int = 0) -> list[Tensor]:
    """x, the matrices and a gradient of the output, of integers from -3 to 3.

    Every sum of the derivatives is then an integer below 2^24, which float32 represents: results are exact in every
    order of summation, and the hidden units that are exactly zero are the same in both precisions.
    """
    points, inputs, hidden, outputs = size
    shapes = ((points, inputs), (hidden, inputs), (outputs, hidden), (points, outputs))
    rng = torch.Generator().manual_seed(seed)
    return [torch.randint(-3, 4, shape, generator=rng).float() for shape in shapes]


def derivatives(function: Function, values: Sequence[Tensor], seed: int = 1) -> list[Tensor]:
    """The outputs of a function and their products with integers, differentiated with respect to all values."""
    leaves = [value.clone().requires_grad_() for value in values]
    outputs = function(*leaves)
    rng = torch.Generator().manual_seed(seed)
    grads = [torch.randint(-2, 3, output.shape, generator=rng).to(output) for output in outputs]
    found = torch.autograd.grad(outputs, leaves, grads, allow_unused=True)
    return [
        *outputs,
        *(torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, found, strict=True)),
    ]


def gradients_of(*which: int) -> Function:
    """The gradients of the perceptron to some of x and its matrices, as functions of these and of the output's."""

    def gradients(x: Tensor, first: Tensor, second: Tensor, grad_output: Tensor) -> Sequence[Tensor]:
        inputs = (x, first, second)
        y = perceptron(*inputs)
        return torch.autograd.grad(y, [inputs[k] for k in which], grad_output, create_graph=True)

    return gradients


def assert_exact(function: Function, values: Sequence[Tensor]) -> None:
    """Warp in single precision equals torch in double precision."""
    with backend.using("torch"):
        expected = derivatives(function, [value.double() for value in values])
    with backend.using("warp"):
        assert uses_warp(*values)
        found = derivatives(function, values)
    for one, other in zip(expected, found, strict=True):
        assert one.abs().max() < 2**24 if one.numel() else True
        assert torch.equal(one, other.double())


@pytest.mark.parametrize("size", SIZES)
def test_the_fast_perceptron_has_exact_derivatives(size: Size) -> None:
    values = whole_numbers(size)
    assert_exact(lambda *inputs: [perceptron(*inputs[:3])], values)
    assert_exact(lambda *inputs: [input_gradient(*inputs)], values)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("which", [[0], [1], [2], [0, 1, 2]])
def test_the_fast_perceptron_has_exact_second_derivatives(
    size: Size, which: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Of each gradient alone and of all together, in all inputs, without falling back to the reference."""
    backend.warn_once.cache_clear()
    values = whole_numbers(size)
    with caplog.at_level(logging.WARNING):
        assert_exact(gradients_of(*which), values)
    assert not [record for record in caplog.records if "float64" not in record.message]


def test_second_derivatives_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, of numbers whose sums are rounded."""
    values = [value + 0.1 for value in whole_numbers((9000, 12, 32, 3))]
    found = []
    with backend.using("warp"):
        for threads in (1, 2, 3):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            found.append(derivatives(gradients_of(0, 1, 2), values))
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_the_reference_has_second_derivatives() -> None:
    """By finite differences in double precision, away from the kinks of the ReLUs."""
    rng = torch.Generator().manual_seed(2)
    shapes = ((3, 4), (8, 4), (2, 8), (3, 2))
    values = [torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_() for shape in shapes]
    assert (values[0] @ values[1].T).abs().min() > 1e-3
    assert torch.autograd.gradcheck(perceptron, values[:3])
    assert torch.autograd.gradgradcheck(perceptron, values[:3])
    x = values[0].detach()
    assert torch.autograd.gradcheck(lambda *inputs: input_gradient(x, *inputs), values[1:])


def test_the_input_gradient_is_that_of_the_perceptron() -> None:
    values = [value.double() for value in whole_numbers((20, 6, 8, 3))]
    expected = derivatives(gradients_of(0), values)
    found = derivatives(lambda *inputs: [input_gradient(*inputs)], values)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


@pytest.mark.parametrize("size", [(9, 65, 8, 1), (9, 4, 6, 1), (9, 4, 8, 5)])
def test_other_sizes_use_the_reference(size: Size) -> None:
    """More than 64 inputs, a number of hidden units that is no multiple of four, more than four outputs."""
    values = whole_numbers(size)
    with backend.using("warp"):
        assert not uses_warp(*values)
        found = derivatives(gradients_of(0, 1, 2), values)
    assert all(torch.isfinite(value).all() for value in found)
