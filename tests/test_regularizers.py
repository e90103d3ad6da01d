"""The regularizers against closed forms; identity I-29 for the convexity loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scoredistill.camera import orbit
from scoredistill.scenes.nerf import NerfRegularizers
from scoredistill.scenes.regularizers import (
    Ramp,
    constant,
    convexity,
    opaqueness,
    orientation,
    scaled_by,
    sparsity,
    z_variance,
)

AZIMUTHS = (0.0, 0.7, math.pi / 2, math.pi, -2.0)


def pose(azimuth: float, elevation: float = math.radians(15)) -> Tensor:
    angles = (torch.tensor([value], dtype=torch.float64) for value in (azimuth, elevation, 3.0, 0.7))
    return orbit(*angles, 8).c2w


def orthographic(c2w: Tensor, sign: float) -> tuple[Tensor, Tensor]:
    """World normals [1 3 8 8] of a unit sphere (sign 1) or bowl (-1) on [-.95, .95]^2, and opacity."""
    steps = torch.linspace(-0.95, 0.95, 8, dtype=torch.float64)
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    hit = u**2 + v**2 < 1
    towards = -(1 - u**2 - v**2).clamp(min=0).sqrt()
    local = torch.stack([sign * u, sign * v, towards]) * hit
    return torch.einsum("ij,jhw->ihw", c2w[0, :3, :3], local)[None], hit[None, None].double()


@pytest.mark.parametrize("azimuth", AZIMUTHS)
def test_I29_a_sphere_opens_and_a_bowl_closes_at_every_azimuth(azimuth: float) -> None:
    c2w = pose(azimuth)
    sphere, hit = orthographic(c2w, 1.0)
    bowl, _ = orthographic(c2w, -1.0)
    assert abs(float(convexity(sphere, hit, c2w, "linear")) + 2 * 0.183) < 1e-3
    assert abs(float(convexity(bowl, hit, c2w, "linear")) - 2 * 0.183) < 1e-3
    assert float(convexity(sphere, hit, c2w)) == 0
    assert abs(float(convexity(bowl, hit, c2w)) - 2 * 0.183) < 1e-3


@pytest.mark.parametrize(("azimuth", "expected"), [(0.0, -0.099), (math.pi, 0.011)])
def test_I29_the_official_form_rewards_hollow_backs(azimuth: float, expected: float) -> None:
    c2w = pose(azimuth)
    sphere, hit = orthographic(c2w, 1.0)
    assert abs(float(convexity(sphere, hit, c2w, "official")) - expected) < 1e-3


def test_the_official_form_normalizes_the_mean_normal_of_each_ray() -> None:
    """Mean normals of a rough surface are shorter than its opacity; their length has no effect."""
    c2w = pose(0.3)
    sphere, hit = orthographic(c2w, 1.0)
    torch.testing.assert_close(convexity(0.5 * sphere, hit, c2w, "official"), convexity(sphere, hit, c2w, "official"))


def test_convexity_averages_large_maps_over_blocks() -> None:
    c2w = pose(0.3)
    bowl, hit = orthographic(c2w, -1.0)
    large = [image.repeat_interleave(4, -1).repeat_interleave(4, -2) for image in (bowl, hit)]
    torch.testing.assert_close(convexity(*large, c2w), convexity(bowl, hit, c2w))


def test_z_variance_is_the_mean_over_solid_rays_and_zero_without_any() -> None:
    variance = torch.tensor([1.0, 3.0, 100.0]).view(1, 1, 1, 3)
    opacity = torch.tensor([0.9, 0.6, 0.4]).view(1, 1, 1, 3)
    assert float(z_variance(variance, opacity)) == 2
    assert float(z_variance(torch.full_like(opacity, math.inf), opacity * 0)) == 0


def test_opaqueness_is_the_entropy_and_pushes_to_both_ends() -> None:
    half = torch.full((1, 1, 2, 2), 0.5)
    assert math.isclose(float(opaqueness(half)), math.log(2), rel_tol=1e-6)
    assert float(opaqueness(torch.ones_like(half))) < 0.01
    opacity = torch.tensor([0.3, 0.7]).view(1, 1, 1, 2).requires_grad_()
    opaqueness(opacity).backward()
    assert opacity.grad.flatten()[0] > 0 > opacity.grad.flatten()[1]


def test_sparsity_and_orientation() -> None:
    opacity = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    assert math.isclose(float(sparsity(opacity)), (0.1 + math.sqrt(1.01)) / 2, rel_tol=1e-6)
    assert float(orientation(opacity * 0.25, opacity)) == 0.25
    assert float(orientation(opacity * 0, opacity * 0)) == 0


def test_ramps() -> None:
    ramp = Ramp(1.0, 0.1, 0.2, 0.4)
    assert [ramp(progress) for progress in (0.0, 0.2, 0.4, 0.9)] == [1.0, 1.0, 0.1, 0.1]
    assert math.isclose(ramp(0.3), 0.55)
    switch = Ramp(0.1, 0.0, 0.4, 0.4)
    assert (switch(0.39), switch(0.4)) == (0.1, 0.0)
    assert constant(2.0)(0.7) == 2.0


def test_a_factor_scales_all_ramps_and_nothing_else() -> None:
    weights = replace(NerfRegularizers(), sparsity=Ramp(0.5, 0.25, 0.1, 0.3), convexity_form="linear")
    scaled = scaled_by(weights, 2.0)
    assert scaled.sparsity == Ramp(1.0, 0.5, 0.1, 0.3)
    assert scaled.z_variance == constant(2 * weights.z_variance.start)
    assert scaled.convexity_form == "linear"
    assert scaled_by(weights, 1.0) == weights
