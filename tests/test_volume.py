"""Marching and compositing against closed forms, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from scoredistill.camera import ring
from scoredistill.kernels.composite import accumulate, weights
from scoredistill.kernels.march import Samples, box_span, march
from scoredistill.render.volume import MAX_OPTICAL_DEPTH, render_rays

FULL = torch.ones(4, 4, 4, dtype=torch.bool)


@dataclass
class Slab:
    """Constant density and color between two planes of z; its surface faces +z."""

    density: float
    low: float = -1.0
    high: float = 1.0
    color: tuple[float, float, float] = (0.2, 0.5, 0.9)

    def evaluate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        inside = (points[:, 2] > self.low) & (points[:, 2] < self.high)
        return self.density * inside.to(points), torch.tensor(self.color).to(points).expand(len(points), 3)

    def normal(self, points: Tensor) -> Tensor:
        return torch.tensor([0.0, 0.0, 1.0]).to(points).expand(len(points), 3)


def random_rays(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rays from a sphere of radius 3 to points of the unit cube."""
    rng = torch.Generator().manual_seed(seed)
    normalize = torch.nn.functional.normalize
    origins = 3 * normalize(torch.randn(count, 3, generator=rng, dtype=torch.float64), dim=-1)
    targets = torch.rand(count, 3, generator=rng, dtype=torch.float64) * 2 - 1
    return origins, normalize(targets - origins, dim=-1)


def straight(x: float = 0.1) -> tuple[Tensor, Tensor]:
    return torch.tensor([[x, 0.2, 3.0]]).double(), torch.tensor([[0.0, 0.0, -1.0]]).double()


def test_box_span_of_hits_misses_and_parallel_rays() -> None:
    origins = torch.tensor([[0.0, 0.0, 3.0], [0.0, 2.0, 3.0], [0.5, 0.5, 0.5]]).double()
    directions = torch.tensor([[0.0, 0.0, -1.0]]).double().expand(3, 3)
    one = torch.ones(3).double()
    enter, leave = box_span(origins, directions, -one, one)
    assert (enter[0], leave[0]) == (2.0, 4.0)
    assert enter[1] >= leave[1]
    assert (enter[2], leave[2]) == (0.0, 1.5)  # from inside: nothing behind the camera


@pytest.mark.parametrize("jittered", [False, True])
def test_intervals_fill_the_chord_exactly(jittered: bool) -> None:
    origins, directions = random_rays(200)
    shift = torch.rand(200, generator=torch.Generator().manual_seed(1)).double() if jittered else None
    samples = march(origins, directions, FULL, 1.0, 0.07, shift)
    one = torch.ones(3).double()
    enter, leave = box_span(origins, directions, -one, one)
    chord = torch.zeros(200).double().index_add(0, samples.ray, samples.dz)
    torch.testing.assert_close(chord, leave - enter, atol=1e-12, rtol=0)
    assert samples.dz.max() <= 0.07 + 1e-12
    assert samples.points(origins, directions).abs().max() < 1


def test_jitter_moves_the_samples_but_only_within_a_step() -> None:
    origins, directions = straight()
    plain = march(origins, directions, FULL, 1.0, 0.1)
    moved = march(origins, directions, FULL, 1.0, 0.1, torch.tensor([0.4]).double())
    torch.testing.assert_close(moved.z[1:20], plain.z[1:20] - 0.04)
    assert len(moved) == len(plain) + 1  # two shorter intervals at the ends


def test_samples_lie_in_occupied_cells_only_and_on_the_same_lattice() -> None:
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[2, 2, 1] = occupied[0, 3, 3] = True
    origins, directions = random_rays(500)
    everywhere, some = (march(origins, directions, grid, 1.0, 0.05) for grid in (FULL, occupied))
    cells = ((everywhere.points(origins, directions) + 1) * 2).long()
    inside = occupied[cells[:, 0], cells[:, 1], cells[:, 2]]
    assert 0 < len(some) < len(everywhere)
    torch.testing.assert_close(some.z, everywhere.z[inside], atol=1e-12, rtol=0)
    assert bool((some.ray == everywhere.ray[inside]).all())


@pytest.mark.parametrize("density", [0.01, 1.0, 30.0])
def test_a_constant_slab_has_the_closed_form_opacity(density: float) -> None:
    origins, directions = random_rays(100)
    samples = march(origins, directions, FULL, 1.0, 0.07)
    weight = weights(torch.full_like(samples.z, density), samples, 100)
    opacity = accumulate(weight, torch.ones_like(weight)[:, None], samples.ray, 100)[:, 0]
    one = torch.ones(3).double()
    enter, leave = box_span(origins, directions, -one, one)
    torch.testing.assert_close(opacity, 1 - torch.exp(-density * (leave - enter)), atol=1e-10, rtol=1e-10)


def test_two_layers_composite_front_to_back() -> None:
    z, dz = torch.tensor([[1.0, 2.0], [0.5, 0.25]]).double()
    samples = Samples(torch.tensor([0, 0]), z, dz)
    near, far = 1 - math.exp(-2 * 0.5), 1 - math.exp(-8 * 0.25)
    weight = weights(torch.tensor([2.0, 8.0]).double(), samples, 1)
    expected = torch.tensor([near, (1 - near) * far], dtype=torch.float64)
    torch.testing.assert_close(weight, expected, atol=1e-15, rtol=0)


def test_float32_weights_stay_exact_behind_many_opaque_rays() -> None:
    """A plain float32 running sum over all rays would have lost the last ray's depth of 1e-3 entirely."""
    rays = 2000
    ray = torch.arange(rays).repeat_interleave(50)
    samples = Samples(ray, torch.ones(len(ray)), torch.full((len(ray),), 0.02))
    density = torch.where(ray < rays - 1, 1e4, 1e-3)
    weight = weights(density, samples, rays)
    assert weight.dtype == torch.float32
    assert math.isclose(float(weight[-50:].double().sum()), 1 - math.exp(-1e-3), rel_tol=1e-5)


def test_depth_and_variance_of_a_thin_shell_and_of_an_exponential() -> None:
    origins, directions = straight()
    samples = march(origins, directions, FULL, 1.0, 0.001)
    shell = render_rays(Slab(1e5, 0.2, 0.21), origins, directions, samples)
    assert abs(float(shell.depth) - (3 - 0.21)) < 1e-3
    assert float(shell.z_variance) < 1e-6
    fog = render_rays(Slab(20.0, 0.3, 0.5), origins, directions, samples)
    c = 20.0 * 0.2  # its weights are an exponential distribution, cut at optical depth c
    assert abs(float(fog.depth) - (2.5 + (1 - c / math.expm1(c)) / 20)) < 1e-5
    assert abs(float(fog.z_variance) * 20**2 - (1 - c**2 * math.exp(c) / math.expm1(c) ** 2)) < 1e-3


def test_normals_are_weighted_with_opacity_in_both_modes_and_orientation_counts_back_faces() -> None:
    origins, directions = straight()
    samples = march(origins, directions, FULL, 1.0, 0.2)
    for normals_at in ("surface", "samples"):
        front = render_rays(Slab(1.0), origins, directions, samples, normals_at=normals_at)
        torch.testing.assert_close(front.normal[0], torch.tensor([0, 0, 1.0]).double() * front.opacity)
        assert float(front.orient) == 0
        back = render_rays(Slab(1.0), origins * -1, directions * -1, samples, normals_at=normals_at)
        torch.testing.assert_close(back.orient, back.opacity)


def test_occluded_samples_are_skipped_at_an_error_below_a_thousandth() -> None:
    origins, directions = random_rays(50)
    samples = march(origins, directions, FULL, 1.0, 0.02)
    counts = []

    class Counting(Slab):
        def evaluate(self, points: Tensor) -> tuple[Tensor, Tensor]:
            counts.append(len(points))
            return super().evaluate(points)

    colors = render_rays(Counting(40.0), origins, directions, samples)
    exact = 1 - torch.exp(-40.0 * torch.zeros(50).double().index_add(0, samples.ray, samples.dz))
    assert sum(counts) < len(samples) / 3
    assert (colors.opacity - exact).abs().max() < math.exp(-MAX_OPTICAL_DEPTH) < 1.01e-3


def test_compositing_gradients() -> None:
    rng = torch.Generator().manual_seed(0)
    ray = torch.tensor([0, 0, 0, 2, 2])
    dz = torch.rand(5, generator=rng, dtype=torch.float64)
    density, values = (torch.rand(*shape, generator=rng, dtype=torch.float64) for shape in ((5,), (5, 2)))

    def composite(density: Tensor, values: Tensor) -> Tensor:
        samples = Samples(ray, torch.arange(5).double(), dz)
        return accumulate(weights(density, samples, 3), values, ray, 3)

    inputs = (density.requires_grad_(), values.requires_grad_())
    assert torch.autograd.gradcheck(composite, inputs)
    assert not composite(*inputs)[1].any()


def test_rays_through_empty_space_are_zero() -> None:
    cameras = ring(1, 8)
    origins, directions = (vectors.reshape(-1, 3) for vectors in cameras.rays())
    samples = march(origins, directions, torch.zeros(4, 4, 4, dtype=torch.bool), 1.0, 0.1)
    assert len(samples) == 0
    colors = render_rays(Slab(1.0), origins, directions, samples)
    for values in vars(colors).values():
        assert values.shape[0] == 64
        assert not values.any()
