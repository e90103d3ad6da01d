"""Metrics compared with closed forms and explicit computations in float64."""

import math

import pytest
import torch
from torch.nn import functional

from scoredistill.evaluate import metrics


def gaussian(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def step_edge(blur: float, size: int = 64) -> torch.Tensor:
    """A vertical step in the middle of an image, blurred by a Gaussian in closed form: 0.5 (1 + erf)."""
    place = torch.arange(size, dtype=torch.float64) + 0.5 - size / 2
    profile = 0.5 * (1 + torch.erf(place / (blur * math.sqrt(2))))
    return profile.expand(1, 3, size, size)


def test_sharpness_of_a_step_is_the_closed_form() -> None:
    for blur in (2.0, 3.0, 4.0):
        # the energy of a blurred step is 1 / (2 s sqrt(pi)); a central difference averages over a box of variance 1/3
        expected = 1 - math.sqrt((blur**2 + 1 / 3) / (blur**2 + 4 / 3))
        assert float(metrics.sharpness(step_edge(blur))) == pytest.approx(expected, rel=0.02)


def test_sharpness_falls_with_blur_and_ignores_contrast_offset_and_the_number_of_edges() -> None:
    values = [float(metrics.sharpness(step_edge(blur))) for blur in (0.5, 1.0, 2.0, 4.0, 8.0)]
    assert values == sorted(values, reverse=True) and values[0] > 3 * values[-1]
    edge = step_edge(1.0)
    assert torch.allclose(metrics.sharpness(edge), metrics.sharpness(0.3 + 0.4 * edge), rtol=1e-9)
    two = torch.cat([edge, edge.flip(-1)], -1)
    assert float(metrics.sharpness(two)) == pytest.approx(float(metrics.sharpness(edge)), rel=0.02)


def test_sharpness_does_not_depend_on_the_direction() -> None:
    edge = step_edge(1.5)
    assert torch.allclose(metrics.sharpness(edge), metrics.sharpness(edge.mT), rtol=1e-9)


def test_noise_raises_sharpness_little() -> None:
    laplacian = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64).expand(3, 1, 3, 3)

    def naive(rgb: torch.Tensor) -> float:
        return float(functional.conv2d(rgb, laplacian, groups=3).square().mean() / rgb.var())

    edge, soft = (0.5 + 0.3 * (step_edge(blur) - 0.5) for blur in (1.0, 4.0))
    grain = 0.01 * gaussian(1, 1, 3, 64, 64)
    assert naive(soft + grain) > naive(edge)  # unlike the energy of the Laplacian
    assert float(metrics.sharpness(soft + grain)) < float(metrics.sharpness(edge))
    assert float(metrics.sharpness(edge + grain)) == pytest.approx(float(metrics.sharpness(edge)), rel=0.25)


def test_sharpness_of_a_constant_image_is_zero() -> None:
    for dtype in (torch.float32, torch.float64):
        assert metrics.sharpness(torch.full((2, 3, 32, 32), 0.3, dtype=dtype)).tolist() == [0.0, 0.0]


def test_divergence_returns_its_reason() -> None:
    rgb, ball = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    ball[:, :, 8:24, 8:24] = 1
    assert metrics.divergence(rgb, ball) == ""
    assert metrics.divergence(rgb) == ""
    assert metrics.divergence(rgb, 0.05 * ball) == "empty"
    assert metrics.divergence(rgb, torch.ones_like(ball)) == "full"
    assert metrics.divergence(rgb, (ball + 0.6).clamp(max=1)) == "full"
    assert metrics.divergence(rgb, ball * float("nan")) == "not finite"
    assert metrics.divergence(rgb / 0, ball) == "not finite"


def test_frechet_of_axis_aligned_gaussians_is_the_closed_form() -> None:
    mean_x, mean_y, std_x, std_y = gaussian(2, 4, 5).unbind()
    expected = ((mean_x - mean_y) ** 2).sum() + ((std_x.abs() - std_y.abs()) ** 2).sum()
    value = metrics.frechet_gaussians(mean_x, torch.diag(std_x**2), mean_y, torch.diag(std_y**2))
    assert value == pytest.approx(float(expected), rel=1e-10)


def test_frechet_of_general_gaussians_agrees_with_the_unsymmetric_form() -> None:
    root_x, root_y = gaussian(3, 2, 6, 6)
    cov_x, cov_y = root_x @ root_x.T, root_y @ root_y.T
    product = torch.linalg.eigvals(cov_x @ cov_y)  # the textbook form: tr (Cx Cy)^1/2, not symmetric
    expected = cov_x.trace() + cov_y.trace() - 2 * product.sqrt().real.sum()
    zero = torch.zeros(6, dtype=torch.float64)
    assert metrics.frechet_gaussians(zero, cov_x, zero, cov_y) == pytest.approx(float(expected), rel=1e-8)


def test_frechet_of_samples() -> None:
    x = gaussian(4, 300, 4)
    assert metrics.frechet_distance(x, x).value == pytest.approx(0, abs=1e-9)
    moved = metrics.frechet_distance(x, x + 2)
    assert moved.value == pytest.approx(16, rel=1e-9)
    assert str(moved) == "16 (n = 300, 300)"
    few = metrics.frechet_distance(gaussian(5, 20, 4), gaussian(6, 20, 4))
    many = metrics.frechet_distance(gaussian(5, 2000, 4), gaussian(6, 2000, 4))
    assert few.value > 10 * many.value  # the known bias


def test_kernel_distance_is_the_double_sum() -> None:
    x, y = gaussian(7, 5, 3), gaussian(8, 4, 3) + 1

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 3 + 1) ** 3

    within_x = sum(k(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    within_y = sum(k(y[i], y[j]) for i in range(4) for j in range(4) if i != j) / 12
    between = sum(k(a, b) for a in x for b in y) / 20
    distance = metrics.kernel_distance(x, y)
    assert distance.value == pytest.approx(within_x + within_y - 2 * between, rel=1e-12)
    assert (distance.count, distance.other) == (5, 4)
    with pytest.raises(ValueError, match="at least 2"):
        metrics.kernel_distance(x[:1], y)


def test_kernel_distance_is_unbiased_at_small_counts() -> None:
    pairs = [(gaussian(2 * seed, 10, 4), gaussian(2 * seed + 1, 10, 4)) for seed in range(400)]
    same = torch.tensor([metrics.kernel_distance(x, y).value for x, y in pairs])
    error = same.std() / math.sqrt(len(same))
    assert abs(float(same.mean())) < 3 * float(error)
    other = metrics.kernel_distance(gaussian(0, 10, 4), gaussian(1, 10, 4) + 1)
    assert other.value > 10 * float(error)


def test_diversity() -> None:
    assert metrics.diversity(torch.ones(5, 3, dtype=torch.float64)) == pytest.approx(0, abs=1e-12)
    assert metrics.diversity(7 * torch.eye(4)) == pytest.approx(1)
    assert metrics.diversity(torch.tensor([[1.0, 0], [-2, 0]])) == pytest.approx(2)
    assert metrics.diversity(torch.ones(1, 3)) == 0


def test_retrieval_precision_counts_hits_and_shares_ties() -> None:
    similarities = torch.tensor([[0.9, 0.1, 0.2], [0.3, 0.2, 0.1], [0.5, 0.5, 0.1], [0.4, 0.4, 0.4]])
    own = torch.tensor([0, 1, 0, 2])
    assert metrics.retrieval_precision(similarities, own) == pytest.approx((1 + 0 + 1 / 2 + 1 / 3) / 4)


def test_a_single_image_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="needs two images or more in each set, got 1 and 4"):
        metrics.frechet_distance(torch.rand(1, 3), torch.rand(4, 3))
