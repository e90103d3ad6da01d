"""The hash grid compared with a per-point computation and with linear functions; its derivatives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from scoredistill.kernels.hashgrid import GridLayout, encode

SMALL = GridLayout(levels=3, coarsest=2, finest=9, table=2**7)  # 27 and 125 dense entries, then 128 hashed


def random_table(layout: GridLayout, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(sum(layout.sizes), 2, generator=rng, dtype=torch.float64)


def random_points(count: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def encode_point(point: np.ndarray, table: np.ndarray, layout: GridLayout) -> np.ndarray:
    """Mueller et al. 2022, section 3, one point at a time, with Python's unbounded integers."""
    features, offset = [], 0
    for resolution, size in zip(layout.resolutions, layout.sizes, strict=True):
        cell = np.minimum(np.floor(point * resolution), resolution - 1)
        total = np.zeros(2)
        for corner in itertools.product((0, 1), repeat=3):
            x, y, z = (int(c) + k for c, k in zip(cell, corner, strict=True))
            side = resolution + 1
            hashed = (x * 1 ^ y * 2654435761 ^ z * 805459861) % layout.table
            entry = x + side * y + side**2 * z if side**3 <= layout.table else hashed
            near = 1 - np.abs(point * resolution - cell - np.array(corner))
            total += near.prod() * table[offset + entry]
        features.append(total)
        offset += size
    return np.concatenate(features)


def test_encoding_equals_the_per_point_computation() -> None:
    table, points = random_table(SMALL), random_points(50)
    expected = np.stack([encode_point(point, table.numpy(), SMALL) for point in points.numpy()])
    np.testing.assert_allclose(encode(points, table, SMALL, 3).numpy(), expected, atol=1e-14)


def test_hashing_of_large_coordinates_wraps_like_unsigned_integers() -> None:
    layout = GridLayout(levels=2, coarsest=100, finest=4096, table=2**14)
    table, points = random_table(layout), random_points(20)
    expected = np.stack([encode_point(point, table.numpy(), layout) for point in points.numpy()])
    np.testing.assert_allclose(encode(points, table, layout, 2).numpy(), expected, atol=1e-12)


def test_a_dense_level_reproduces_a_linear_function() -> None:
    layout = GridLayout(levels=1, coarsest=4, finest=4)
    grid = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 5, dtype=torch.float64)] * 3, indexing="ij"), -1)
    vertices = grid.permute(2, 1, 0, 3).reshape(-1, 3)  # x runs fastest
    table = torch.stack([vertices @ torch.tensor([1.0, -2.0, 3.0]).double(), vertices[:, 1]], 1)
    points = random_points(100)
    expected = torch.stack([points @ torch.tensor([1.0, -2.0, 3.0]).double(), points[:, 1]], 1)
    torch.testing.assert_close(encode(points, table, layout, 1), expected, atol=1e-14, rtol=0)


def test_resolutions_grow_geometrically_from_coarsest_to_finest() -> None:
    published = GridLayout(levels=16, coarsest=16, finest=4096, table=2**19)  # METHODS 7.1
    assert published.resolutions[0] == 16
    assert published.resolutions[-1] == 4096
    assert published.resolutions[7] == math.floor(16 * 1.447269237440378**7)
    assert published.width == 32


def test_inactive_levels_are_zero_and_do_not_change_the_others() -> None:
    table, points = random_table(SMALL), random_points(10)
    full, partial = encode(points, table, SMALL, 3), encode(points, table, SMALL, 1)
    torch.testing.assert_close(partial[:, :2], full[:, :2], rtol=0, atol=0)
    assert partial.shape == full.shape
    assert not partial[:, 2:].any()


def test_points_outside_are_clamped_to_the_surface() -> None:
    table = random_table(SMALL)
    outside, surface = torch.tensor([[-0.3, 0.5, 1.7]]).double(), torch.tensor([[0.0, 0.5, 1.0]]).double()
    torch.testing.assert_close(encode(outside, table, SMALL, 3), encode(surface, table, SMALL, 3))


def test_first_and_second_gradients() -> None:
    layout = GridLayout(levels=2, coarsest=2, finest=5, table=2**5)  # 27 dense entries, then 32 hashed
    table, points = random_table(layout).requires_grad_(), random_points(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, v: encode(x, v, layout, 2), (points, table), eps=1e-7)
    assert torch.autograd.gradgradcheck(lambda x, v: encode(x, v, layout, 2), (points, table), eps=1e-7)


def test_points_without_requires_grad_get_no_gradient() -> None:
    table, points = random_table(SMALL).requires_grad_(), random_points(6)
    encode(points, table, SMALL, 3).sum().backward()
    assert points.grad is None
    assert table.grad is not None
    assert torch.isclose(table.grad.sum(), torch.tensor(6 * 3 * 2.0).double())  # weights sum to one


@pytest.mark.parametrize("wrong", [{"table": 1000}, {"levels": 0}, {"coarsest": 200}])
def test_invalid_layouts_are_rejected(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a hash grid needs"):
        GridLayout(**wrong)
