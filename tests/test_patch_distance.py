"""The patch distance compared with SciPy's Wasserstein distance, a closed form, and what it should not see."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.nn import functional

from scoredistill.evaluate.metrics import patch_distance
from scoredistill.evaluate.metrics.patches import THOUSAND, patches

draw = partial(torch.rand, dtype=torch.float64)


def random_views(count: int, seed: int) -> Tensor:
    return draw(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_mean_wasserstein_distance_of_the_projected_patches() -> None:
    x, y = random_views(1, 0), random_views(1, 1) ** 2
    pairs = [pair for bands in zip(patches(x), patches(y), strict=True) for pair in zip(*bands, strict=True)]
    expected = [wasserstein_distance(one.numpy(), other.numpy()) for one, other in pairs]
    assert patch_distance(x, y) == pytest.approx(THOUSAND * sum(expected) / len(expected), rel=1e-9)


def test_patches_of_a_band_are_those_of_a_laplacian_pyramid() -> None:
    """The sum of the squares along 64 directions of 147 has the mean 64 / 147 of the energy of the patch."""
    x = random_views(2, 0)
    band = x - functional.interpolate(functional.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
    energy = functional.unfold(band, 7).square().sum(1).mean()
    assert float(patches(x)[0].square().mean()) == pytest.approx(float(energy) / 147, rel=0.05)


def test_other_contrast_is_seen_in_proportion() -> None:
    """W_1 of a variable X and k X is |k - 1| E|X|."""
    x = random_views(2, 0)
    size = [float(band.abs().mean()) for band in patches(x)]
    for factor in (0.5, 0.9, 1.5):
        expected = THOUSAND * abs(factor - 1) * sum(size) / len(size)
        assert patch_distance(factor * x, x) == pytest.approx(expected, rel=1e-9)


def test_it_does_not_see_a_color_of_all_pixels_the_order_or_the_number_of_views() -> None:
    x, y = random_views(2, 0), random_views(2, 1) ** 2
    color = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)[:, None, None]
    assert patch_distance(x + color, x) == pytest.approx(0, abs=1e-9)
    assert patch_distance(x.flip(0), x) == 0
    assert patch_distance(torch.cat([x, x, x]), y) == pytest.approx(patch_distance(x, y), rel=1e-9)
    assert patch_distance(x, y) == pytest.approx(patch_distance(y, x), rel=1e-9)


def test_views_of_another_size_are_resized_with_antialiasing() -> None:
    large = draw(1, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    small = functional.interpolate(large, (64, 64), mode="bilinear", antialias=True)
    assert patch_distance(large, small) == 0
