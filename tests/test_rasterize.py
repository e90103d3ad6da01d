"""Projection and rasterization against closed forms, against each other in value and gradient, and at the borders."""

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


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scattered(count: int, std: float = 0.05, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Random splats in a ball, and random features of two views."""
    rng = dice(count)
    splats = {
        "mean": 0.35 * torch.randn(count, 3, generator=rng, dtype=dtype),
        "stds": std * torch.exp(0.5 * torch.randn(count, 3, generator=rng, dtype=dtype)),
        "rotation": torch.randn(count, 4, generator=rng, dtype=dtype),
        "opacity": 0.05 + 0.9 * torch.rand(count, generator=rng, dtype=dtype),
        "features": torch.randn(2, count, CHANNELS, generator=rng, dtype=dtype),
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
    """Features by which an image tells the weight of each of up to eight splats."""
    return torch.eye(count, CHANNELS, dtype=torch.float64)[None]


def test_a_quaternion_turns_like_its_axis_and_angle() -> None:
    """Rodrigues' formula, for quaternions of any length."""
    axis = torch.nn.functional.normalize(torch.randn(5, 3, generator=dice(), dtype=torch.float64), dim=-1)
    angle = torch.tensor([0.1, 1.0, 2.0, 3.0, -2.5], dtype=torch.float64)[:, None]
    quaternion = 3 * torch.cat([torch.cos(angle / 2), torch.sin(angle / 2) * axis], 1)
    vector = torch.randn(5, 3, generator=dice(1), dtype=torch.float64)
    along = (axis * vector).sum(-1, keepdim=True) * axis
    expected = along + torch.cos(angle) * (vector - along) + torch.sin(angle) * torch.linalg.cross(axis, vector)
    turned = (rotation_matrices(quaternion) @ vector[..., None])[..., 0]
    torch.testing.assert_close(turned, expected)


def test_means_fall_where_the_pinhole_camera_sees_them() -> None:
    splats, cameras = scattered(50), precise(ring(3, 32))
    footprints = project_reference(splats["mean"], splats["stds"], splats["rotation"], cameras)
    world_to_camera = torch.linalg.inv(cameras.c2w)
    local = torch.einsum("bij,nj->bni", world_to_camera[:, :3, :3], splats["mean"]) + world_to_camera[:, None, :3, 3]
    pixels = torch.einsum("bij,bnj->bni", cameras.intrinsics(), local)
    # the poses are orthonormal to the precision of float32 only
    torch.testing.assert_close(footprints.mean, pixels[..., :2] / pixels[..., 2:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(footprints.depth, local[..., 2], atol=1e-5, rtol=1e-5)


def test_covariances_are_those_of_projected_samples() -> None:
    """A small Gaussian's samples, projected exactly, have the covariance of its footprint, less the low-pass."""
    cameras = precise(ring(1, 64))
    mean, stds = torch.tensor([[0.3, -0.2, 0.4]]).double(), torch.tensor([[0.02, 0.005, 0.01]]).double()
    rotation = torch.tensor([[0.8, 0.3, -0.4, 0.5]]).double()
    samples = torch.randn(200_000, 3, generator=dice(), dtype=torch.float64) * stds
    points = samples @ rotation_matrices(rotation)[0].T + mean
    seen = project_reference(points, stds.expand_as(points), rotation.expand(len(points), 4), cameras).mean[0]
    a, b, c = project_reference(mean, stds, rotation, cameras).conic[0, 0]
    covariance = torch.linalg.inv(torch.stack([torch.stack([a, b]), torch.stack([b, c])]))
    torch.testing.assert_close(covariance - LOW_PASS * torch.eye(2), torch.cov(seen.T), rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_one_splat_is_a_gaussian(kernels: str, device: str) -> None:
    """opacity = o exp(-|d|^2 / (2 variance)) where that is at least MIN_ALPHA and at most MAX_ALPHA."""
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
def test_the_nearest_is_in_front(kernels: str) -> None:
    """Weights in one place: o_1, o_2 (1 - o_1), o_3 (1 - o_1)(1 - o_2), in the order of depth."""
    footprints = flat([[4.5, 4.5]] * 3, 1e6, [3.0, 1.0, 2.0])
    footprints = Footprints(*(value.float() for value in vars(footprints).values()))
    with backend.using(kernels):
        image, seen = rasterize(footprints, torch.tensor([0.3, 0.5, 0.6]), one_hot(3).float(), 9, 9)
    torch.testing.assert_close(image[0, :3, 4, 4], torch.tensor([0.3 * 0.5 * 0.4, 0.5, 0.6 * 0.5]))
    torch.testing.assert_close(seen[0, 0, 4, 4], torch.tensor(1 - 0.7 * 0.5 * 0.4))


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_nothing_is_seen_behind_what_is_solid(kernels: str) -> None:
    """Opacities are cut at MAX_ALPHA; the splat that would leave less than MIN_TRANSMITTANCE is not drawn, nor any behind it."""
    footprints = flat([[4.5, 4.5]] * 4, 1e6, [1.0, 2.0, 3.0, 4.0])
    footprints = Footprints(*(value.float() for value in vars(footprints).values()))
    with backend.using(kernels):
        image, _ = rasterize(footprints, torch.tensor([0.999, 0.9, 0.95, 0.5]), one_hot(4).float(), 9, 9)
    weights = image[0, :4, 4, 4]
    assert (1 - MAX_ALPHA) * 0.1 * 0.05 < MIN_TRANSMITTANCE
    torch.testing.assert_close(
        weights, torch.tensor([MAX_ALPHA, (1 - MAX_ALPHA) * 0.9, 0.0, 0.0]), atol=1e-6, rtol=1e-5
    )


def test_tiles_leave_no_trace() -> None:
    """One tile for the whole picture shows the same as many, also where the picture is no multiple of them."""
    splats, cameras = scattered(60, 0.1), precise(ring(2, 21))
    footprints = project_reference(splats["mean"], splats["stds"], splats["rotation"], cameras)
    footprints = replace(footprints, mean=footprints.mean + torch.tensor([0.0, 3.0]))
    whole = rasterize_reference(footprints, splats["opacity"], splats["features"], 21, 17, size=32)
    for size in (1, 4, 5, 16):
        parts = rasterize_reference(footprints, splats["opacity"], splats["features"], 21, 17, size=size)
        torch.testing.assert_close(parts, whole)


def test_a_tile_lists_just_the_splats_that_it_shows() -> None:
    """Every pixel centre that a splat's box holds lies in a tile that lists it, and no list has one without."""
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
        centre = torch.tensor([u + 0.5, v + 0.5])
        if bool(((footprints.mean[view, splat] - centre).abs() <= half[view, splat]).all()):
            expected.add(((view * 5 + v // 4) * 5 + u // 4, view * 40 + splat))
    assert listed == expected


@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_what_no_camera_sees_leaves_no_trace(kernels: str) -> None:
    """Behind the camera, nearer than NEAR, beside the picture, or too faint: no color, and no gradient."""
    cameras = orbit(torch.zeros(1), torch.zeros(1), torch.full((1,), 2.0), torch.full((1,), 0.7), 16)
    mean = torch.tensor([[0.0, 0.0, 4.0], [0.0, 0.0, 1.9], [9.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).requires_grad_()
    stds, rotation = torch.full((4, 3), 0.1).requires_grad_(), torch.randn(4, 4, generator=dice()).requires_grad_()
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
def test_an_empty_scene_is_an_empty_picture(kernels: str) -> None:
    mean = torch.zeros(0, 3).requires_grad_()
    with backend.using(kernels):
        footprints = project(mean, torch.zeros(0, 3), torch.zeros(0, 4), ring(2, 8))
        image, seen = rasterize(footprints, torch.zeros(0), torch.zeros(2, 0, CHANNELS), 8, 8)
        (image.sum() + seen.sum()).backward()
    assert image.shape == (2, CHANNELS, 8, 8)
    assert not image.any()
    assert not seen.any()


def picture(splats: dict[str, Tensor], cameras: Cameras) -> tuple[Tensor, Tensor]:
    footprints = project(splats["mean"], splats["stds"], splats["rotation"], cameras)
    return rasterize(footprints, splats["opacity"], splats["features"], cameras.height, cameras.width)


def test_gradients_of_the_reference() -> None:
    """Against differences in float64, for splats of which none crosses a threshold nearby."""
    splats, cameras = scattered(4, 0.4), precise(ring(2, 6))
    weight = torch.randn(2, CHANNELS, 6, 6, generator=dice(), dtype=torch.float64)

    def value(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        image, seen = picture(dict(zip(splats, leaves, strict=True)), cameras)
        return (image * weight).sum(), (seen * weight[:, :1]).sum()

    assert torch.autograd.gradcheck(value, tuple(splats.values()), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("count", "std", "size"), [(300, 0.05, 23), (40, 0.3, 16), (2000, 0.01, 40)])
def test_the_fast_twin_equals_the_reference(count: int, std: float, size: int, device: str) -> None:
    """Values and gradients, 1e-4 relative in float32, with one thread and with two."""
    results = {}
    threads = torch.get_num_threads()
    for kernels, number in (("torch", 1), ("warp", 1), ("warp", 2)):
        splats = {name: value.detach().float().to(device) for name, value in scattered(count, std).items()}
        splats = {name: value.requires_grad_() for name, value in splats.items()}
        torch.set_num_threads(number)
        with backend.using(kernels):
            image, seen = picture(splats, ring(2, size).to(device))
            pull = [torch.randn(out.shape, generator=dice(1)).to(device) for out in (image, seen)]
            gradients = torch.autograd.grad([image, seen], list(splats.values()), pull)
        results[kernels, number] = [image, seen, *gradients]
    torch.set_num_threads(threads)
    for found in (results["warp", 1], results["warp", 2]):
        for one, other in zip(results["torch", 1], found, strict=True):
            assert float(((one - other).norm() / one.norm()).detach()) < 1e-4
            assert (
                float(torch.nn.functional.cosine_similarity(one.detach().flatten(), other.detach().flatten(), dim=0))
                > 1 - 1e-6
            )


def test_the_low_pass_keeps_a_tiny_splat_in_sight() -> None:
    """However small, a splat shows as a Gaussian of variance LOW_PASS: its opacities sum to 2 pi LOW_PASS o."""
    cameras = precise(ring(1, 32))
    splats = scattered(1)
    tiny = torch.full((1, 3), 1e-6, dtype=torch.float64)
    footprints = project_reference(torch.zeros(1, 3, dtype=torch.float64), tiny, splats["rotation"], cameras)
    conic = torch.tensor([1 / LOW_PASS, 0, 1 / LOW_PASS], dtype=torch.float64)
    torch.testing.assert_close(footprints.conic[0, 0], conic, rtol=1e-6, atol=1e-6)
    _, seen = rasterize_reference(footprints, torch.tensor([0.9]).double(), splats["features"][:1], 32, 32)
    assert abs(float(seen.detach().sum()) / (2 * math.pi * LOW_PASS * 0.9) - 1) < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gsplat_shows_the_same() -> None:
    """Where gsplat is installed: values and gradients of splats that stay below both cuts of opacity."""
    pytest.importorskip("gsplat")
    results = []
    for kernels in ("auto", "torch"):
        splats = {name: value.detach().float().cuda().requires_grad_() for name, value in scattered(200).items()}
        with backend.using(kernels):
            image, seen = picture(splats, ring(2, 32).to("cuda"))
            results.append(
                [image, seen, *torch.autograd.grad(image.square().sum() + seen.sum(), list(splats.values()))]
            )
    for one, other in zip(*results, strict=True):
        assert float(((one - other).norm() / other.norm()).detach()) < 1e-3
