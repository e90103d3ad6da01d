"""Projection and rasterization: closed forms, agreement of the backends in value and gradient, and edge cases."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scoredistill.camera import Cameras, orbit, ring
from scoredistill.kernels import backend
from scoredistill.kernels.project import LOW_PASS, Footprints, project, rotation_matrices
from scoredistill.kernels.project import reference as project_reference
from scoredistill.kernels.rasterize import CHANNELS, MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, rasterize, reach, tiles
from scoredistill.kernels.rasterize import reference as rasterize_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scattered(count: int, std: float = 0.05, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Random splats in a ball, and random features of two views."""
    generator = rng(count)
    splats = {
        "mean": 0.35 * torch.randn(count, 3, generator=generator, dtype=dtype),
        "stds": std * torch.exp(0.5 * torch.randn(count, 3, generator=generator, dtype=dtype)),
        "rotation": torch.randn(count, 4, generator=generator, dtype=dtype),
        "opacity": 0.05 + 0.9 * torch.rand(count, generator=generator, dtype=dtype),
        "features": torch.randn(2, count, CHANNELS, generator=generator, dtype=dtype),
    }
    return {name: value.requires_grad_() for name, value in splats.items()}


def precise(cameras: Cameras) -> Cameras:
    return replace(cameras, c2w=cameras.c2w.double(), fov=cameras.fov.double())


def flat(mean: list[list[float]], variance: float, depth: list[float]) -> Footprints:
    """Round footprints of one view."""
    conic = torch.tensor([1 / variance, 0.0, 1 / variance], dtype=torch.float64)
    place = torch.tensor([mean], dtype=torch.float64)
    return Footprints(place, conic.expand(1, len(mean), 3), torch.tensor([depth], dtype=torch.float64))


def one_hot(count: int) -> Tensor:
    """Features such that channel i of an image is the weight of splat i."""
    return torch.eye(count, CHANNELS, dtype=torch.float64)[None]


def test_quaternion_rotation_equals_axis_angle_rotation() -> None:
    """Rodrigues' formula, for quaternions of any length."""
    axis = torch.nn.functional.normalize(torch.randn(5, 3, generator=rng(), dtype=torch.float64), dim=-1)
    angle = torch.tensor([0.1, 1.0, 2.0, 3.0, -2.5], dtype=torch.float64)[:, None]
    quaternion = 3 * torch.cat([torch.cos(angle / 2), torch.sin(angle / 2) * axis], 1)
    vector = torch.randn(5, 3, generator=rng(1), dtype=torch.float64)
    along = (axis * vector).sum(-1, keepdim=True) * axis
    expected = along + torch.cos(angle) * (vector - along) + torch.sin(angle) * torch.linalg.cross(axis, vector)
    turned = (rotation_matrices(quaternion) @ vector[..., None])[..., 0]
    torch.testing.assert_close(turned, expected)


def test_means_are_projected_by_the_pinhole_camera() -> None:
    splats, cameras = scattered(50), precise(ring(3, 32))
    footprints = project_reference(splats["mean"], splats["stds"], splats["rotation"], cameras)
    world_to_camera = torch.linalg.inv(cameras.c2w)
    local = torch.einsum("bij,nj->bni", world_to_camera[:, :3, :3], splats["mean"]) + world_to_camera[:, None, :3, 3]
    pixels = torch.einsum("bij,bnj->bni", cameras.intrinsics(), local)
    # the poses are orthonormal to the precision of float32 only
    torch.testing.assert_close(footprints.mean, pixels[..., :2] / pixels[..., 2:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(footprints.depth, local[..., 2], atol=1e-5, rtol=1e-5)


def test_covariances_equal_those_of_projected_samples() -> None:
    """Exactly projected samples of a small Gaussian have the covariance of its footprint minus the low-pass."""
    cameras = precise(ring(1, 64))
    mean, stds = torch.tensor([[0.3, -0.2, 0.4]]).double(), torch.tensor([[0.02, 0.005, 0.01]]).double()
    rotation = torch.tensor([[0.8, 0.3, -0.4, 0.5]]).double()
    samples = torch.randn(200_000, 3, generator=rng(), dtype=torch.float64) * stds
    points = samples @ rotation_matrices(rotation)[0].T + mean
    projected = project_reference(points, stds.expand_as(points), rotation.expand(len(points), 4), cameras).mean[0]
    a, b, c = project_reference(mean, stds, rotation, cameras).conic[0, 0]
    covariance = torch.linalg.inv(torch.stack([torch.stack([a, b]), torch.stack([b, c])]))
    torch.testing.assert_close(covariance - LOW_PASS * torch.eye(2), torch.cov(projected.T), rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_one_splat_is_a_gaussian(kernels: str, device: str) -> None:
    """opacity = o exp(-|d|^2 / (2 variance)) for values in [MIN_ALPHA, MAX_ALPHA]."""
    footprints, opacity = flat([[9.3, 6.1]], 4.0, [1.0]), torch.tensor([0.8])
    footprints = Footprints(*(value.float().to(device) for value in vars(footprints).values()))
    with backend.using(kernels):
        image, seen = rasterize(footprints, opacity.to(device), one_hot(1).float().to(device), 13, 18)
    v, u = torch.meshgrid(torch.arange(13) + 0.5, torch.arange(18) + 0.5, indexing="ij")
    expected = 0.8 * torch.exp(-((u - 9.3) ** 2 + (v - 6.1) ** 2) / 8)
    expected = expected.where(expected >= MIN_ALPHA, 0)
    torch.testing.assert_close(seen[0, 0].cpu(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(image[0, 0], seen[0, 0])


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_splats_are_composited_in_depth_order(kernels: str) -> None:
    """Weights in one pixel: o_1, o_2 (1 - o_1), o_3 (1 - o_1)(1 - o_2), in order of depth."""
    footprints = flat([[4.5, 4.5]] * 3, 1e6, [3.0, 1.0, 2.0])
    footprints = Footprints(*(value.float() for value in vars(footprints).values()))
    with backend.using(kernels):
        image, seen = rasterize(footprints, torch.tensor([0.3, 0.5, 0.6]), one_hot(3).float(), 9, 9)
    torch.testing.assert_close(image[0, :3, 4, 4], torch.tensor([0.3 * 0.5 * 0.4, 0.5, 0.6 * 0.5]))
    torch.testing.assert_close(seen[0, 0, 4, 4], torch.tensor(1 - 0.7 * 0.5 * 0.4))


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_compositing_ends_at_the_smallest_transmittance(kernels: str) -> None:
    """Opacities are clamped at MAX_ALPHA; the splat that would leave less than MIN_TRANSMITTANCE is the end."""
    footprints = flat([[4.5, 4.5]] * 4, 1e6, [1.0, 2.0, 3.0, 4.0])
    footprints = Footprints(*(value.float() for value in vars(footprints).values()))
    with backend.using(kernels):
        image, _ = rasterize(footprints, torch.tensor([0.999, 0.9, 0.95, 0.5]), one_hot(4).float(), 9, 9)
    weights = image[0, :4, 4, 4]
    assert (1 - MAX_ALPHA) * 0.1 * 0.05 < MIN_TRANSMITTANCE
    torch.testing.assert_close(
        weights, torch.tensor([MAX_ALPHA, (1 - MAX_ALPHA) * 0.9, 0.0, 0.0]), atol=1e-6, rtol=1e-5
    )


def test_the_image_does_not_depend_on_the_tile_size() -> None:
    """One tile gives the same image as many, also if the image size is no multiple of the tile size."""
    splats, cameras = scattered(60, 0.1), precise(ring(2, 21))
    footprints = project_reference(splats["mean"], splats["stds"], splats["rotation"], cameras)
    footprints = replace(footprints, mean=footprints.mean + torch.tensor([0.0, 3.0]))
    whole = rasterize_reference(footprints, splats["opacity"], splats["features"], 21, 17, size=32)
    for size in (1, 4, 5, 16):
        parts = rasterize_reference(footprints, splats["opacity"], splats["features"], 21, 17, size=size)
        torch.testing.assert_close(parts, whole)


def test_tiles_list_exactly_the_splats_that_cover_their_pixels() -> None:
    """A tile lists a splat if and only if the box of the splat contains one of its pixel centers."""
    splats, cameras = scattered(40, 0.1), precise(ring(2, 20))
    footprints = project_reference(splats["mean"], splats["stds"], splats["rotation"], cameras)
    lists, half = tiles(footprints, splats["opacity"], 20, 20, 4), reach(footprints, splats["opacity"])
    listed = set()
    for tile in range(len(lists.start) - 1):
        rows = lists.splat[lists.start[tile] : lists.start[tile + 1]]
        depth = footprints.depth.flatten()[rows]
        assert bool((depth[1:] >= depth[:-1]).all())
        listed |= {(tile, int(row)) for row in rows}
    expected = set()
    for view, splat, v, u in torch.cartesian_prod(*(torch.arange(n) for n in (2, 40, 20, 20))).tolist():
        center = torch.tensor([u + 0.5, v + 0.5])
        if bool(((footprints.mean[view, splat] - center).abs() <= half[view, splat]).all()):
            expected.add(((view * 5 + v // 4) * 5 + u // 4, view * 40 + splat))
    assert listed == expected


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_invisible_splats_have_no_effect(kernels: str) -> None:
    """Behind the camera, nearer than NEAR, outside the image, or below MIN_ALPHA: no color and no gradient."""
    cameras = orbit(torch.zeros(1), torch.zeros(1), torch.full((1,), 2.0), torch.full((1,), 0.7), 16)
    mean = torch.tensor([[0.0, 0.0, 4.0], [0.0, 0.0, 1.9], [9.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).requires_grad_()
    stds, rotation = torch.full((4, 3), 0.1).requires_grad_(), torch.randn(4, 4, generator=rng()).requires_grad_()
    opacity = torch.tensor([0.9, 0.9, 0.9, 0.003]).requires_grad_()
    with backend.using(kernels):
        footprints = project(mean, stds, rotation, cameras)
        image, seen = rasterize(footprints, opacity, torch.ones(1, 4, CHANNELS), 16, 16)
        assert not image.any()
        assert not seen.any()
        (image.sum() + seen.sum()).backward()
    for leaf in (mean, stds, rotation, opacity):
        assert leaf.grad is not None
        assert not leaf.grad.any()


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_an_empty_scene_renders_an_empty_image(kernels: str) -> None:
    mean = torch.zeros(0, 3).requires_grad_()
    with backend.using(kernels):
        footprints = project(mean, torch.zeros(0, 3), torch.zeros(0, 4), ring(2, 8))
        image, seen = rasterize(footprints, torch.zeros(0), torch.zeros(2, 0, CHANNELS), 8, 8)
        (image.sum() + seen.sum()).backward()
    assert image.shape == (2, CHANNELS, 8, 8)
    assert not image.any()
    assert not seen.any()


def render(splats: dict[str, Tensor], cameras: Cameras) -> tuple[Tensor, Tensor]:
    footprints = project(splats["mean"], splats["stds"], splats["rotation"], cameras)
    return rasterize(footprints, splats["opacity"], splats["features"], cameras.height, cameras.width)


def test_gradients_of_the_reference() -> None:
    """Compared with finite differences in float64, for splats that cross no threshold."""
    splats, cameras = scattered(4, 0.4), precise(ring(2, 6))
    weight = torch.randn(2, CHANNELS, 6, 6, generator=rng(), dtype=torch.float64)

    def value(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        image, seen = render(dict(zip(splats, leaves, strict=True)), cameras)
        return (image * weight).sum(), (seen * weight[:, :1]).sum()

    assert torch.autograd.gradcheck(value, tuple(splats.values()), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("count", "std", "size"), [(300, 0.05, 23), (40, 0.3, 16), (2000, 0.01, 40)])
def test_warp_equals_the_reference(count: int, std: float, size: int, device: str) -> None:
    """Values and gradients, 1e-4 relative in float32, with one thread and with two."""
    results = {}
    threads = torch.get_num_threads()
    for kernels, number in (("torch", 1), ("warp", 1), ("warp", 2)):
        splats = {name: value.detach().float().to(device) for name, value in scattered(count, std).items()}
        splats = {name: value.requires_grad_() for name, value in splats.items()}
        torch.set_num_threads(number)
        with backend.using(kernels):
            image, seen = render(splats, ring(2, size).to(device))
            grad_outputs = [torch.randn(out.shape, generator=rng(1)).to(device) for out in (image, seen)]
            gradients = torch.autograd.grad([image, seen], list(splats.values()), grad_outputs)
        results[kernels, number] = [image, seen, *gradients]
    torch.set_num_threads(threads)
    for found in (results["warp", 1], results["warp", 2]):
        for one, other in zip(results["torch", 1], found, strict=True):
            assert float(((one - other).norm() / one.norm()).detach()) < 1e-4
            assert (
                float(torch.nn.functional.cosine_similarity(one.detach().flatten(), other.detach().flatten(), dim=0))
                > 1 - 1e-6
            )


def test_tiny_splats_are_rendered_by_the_low_pass() -> None:
    """A splat of any small size is rendered with the variance LOW_PASS: its opacities sum to 2 pi LOW_PASS o."""
    cameras = precise(ring(1, 32))
    splats = scattered(1)
    tiny = torch.full((1, 3), 1e-6, dtype=torch.float64)
    footprints = project_reference(torch.zeros(1, 3, dtype=torch.float64), tiny, splats["rotation"], cameras)
    conic = torch.tensor([1 / LOW_PASS, 0, 1 / LOW_PASS], dtype=torch.float64)
    torch.testing.assert_close(footprints.conic[0, 0], conic, rtol=1e-6, atol=1e-6)
    _, seen = rasterize_reference(footprints, torch.tensor([0.9]).double(), splats["features"][:1], 32, 32)
    assert abs(float(seen.detach().sum()) / (2 * math.pi * LOW_PASS * 0.9) - 1) < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gsplat_renders_the_same() -> None:
    """If gsplat is installed: values and gradients of splats below both limits of the opacity."""
    pytest.importorskip("gsplat")
    results = []
    for kernels in ("auto", "torch"):
        splats = {name: value.detach().float().cuda().requires_grad_() for name, value in scattered(200).items()}
        with backend.using(kernels):
            image, seen = render(splats, ring(2, 32).to("cuda"))
            results.append(
                [image, seen, *torch.autograd.grad(image.square().sum() + seen.sum(), list(splats.values()))]
            )
    for one, other in zip(*results, strict=True):
        assert float(((one - other).norm() / other.norm()).detach()) < 1e-3
