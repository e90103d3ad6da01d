"""Rendering in tiles: the gradients of one pass, at the memory of one tile."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.memory import Peak
from scoredistill.camera import Cameras, orbit
from scoredistill.contracts import Frame
from scoredistill.kernels import backend
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import changed
from scoredistill.scenes.nerf import GridConfig, LambertConfig, NeRF, NerfConfig

CONFIG = NerfConfig(
    grid=GridConfig(levels=3, coarsest=8, finest=32, table=2**12),
    samples=64,
    hidden=16,
    shading="lambert",
    lambert=LambertConfig(after=0, albedo_share=0.0, textureless_share=0.5),
)
NORMALS = {"finite": {"normals": "finite"}, "analytic": {"normals": "analytic", "normals_at": "samples"}}
WHITE = torch.ones(3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views(size: int, dtype: torch.dtype = torch.float32) -> Cameras:
    azimuth, elevation, radius, fov = torch.tensor([[0.3, -2.0], [0.2, 0.5], [2.8, 2.8], [1.0, 1.0]], dtype=dtype)
    return orbit(azimuth, elevation, radius, fov, size)


def stepped(nerf: NeRF, cameras: Cameras) -> tuple[Frame, list[Tensor]]:
    """A training render, and the gradients of a loss on all that is rendered."""
    background = WHITE.to(next(nerf.parameters()))
    frame = nerf.render(cameras, background, generator(1))
    images = (frame.rgb, frame.opacity, frame.depth, frame.normal, *frame.ray_losses.values())
    loss = sum((image - 0.3).square().mean() for image in images)
    return frame, list(torch.autograd.grad(loss, list(nerf.parameters())))  # type: ignore[arg-type] (a sum of six)


def both(tile: int, cameras: Cameras, dtype: torch.dtype, normals: str) -> list[tuple[Frame, list[Tensor]]]:
    """One pass, and tiles."""
    made = [NeRF(replace(CONFIG, tile=size, **NORMALS[normals]), generator()).to(dtype) for size in (0, tile)]
    return [stepped(nerf, cameras) for nerf in made]


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert float(expected.norm()) > 0
    assert float((found - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("normals", NORMALS)
@pytest.mark.parametrize("kernels", ["torch", "warp"])
def test_tiles_have_the_gradients_of_one_pass(normals: str, kernels: str) -> None:
    """Tiles of sizes that divide neither an image nor the batch; jittered samples, random light."""
    with backend.using(kernels):
        (one, expected), (tiled, found) = both(100, views(24), torch.float32, normals)
    close(tiled.rgb.detach(), one.rgb.detach(), 1e-6)
    for name in ("opacity", "depth", "normal"):
        close(getattr(tiled, name).detach(), getattr(one, name).detach(), 1e-6)
    for gradient, reference in zip(found, expected, strict=True):
        close(gradient, reference, 1e-5)


@pytest.mark.parametrize("normals", NORMALS)
def test_in_double_precision_they_are_the_same(normals: str) -> None:
    (one, expected), (tiled, found) = both(100, views(16, torch.float64), torch.float64, normals)
    assert one.rgb.dtype == torch.float64
    close(tiled.rgb.detach(), one.rgb.detach(), 1e-12)
    for gradient, reference in zip(found, expected, strict=True):
        close(gradient, reference, 1e-12)


def test_without_gradients_tiles_render_the_same() -> None:
    frames = []
    for tile in (0, 50, 10_000):
        nerf = NeRF(replace(CONFIG, tile=tile), generator())
        with torch.no_grad():
            frames.append(nerf.render(views(12), WHITE))
    assert not frames[1].rgb.requires_grad
    for frame in frames[1:]:
        torch.testing.assert_close(frame.rgb, frames[0].rgb, rtol=0, atol=1e-6)


def peak(size: int, tile: int, normals: str) -> int:
    """Bytes that the tensors of a training step take."""
    grid = GridConfig(levels=6, coarsest=4, finest=32, table=2**8)  # few entries: their gradients stay in memory
    config = replace(CONFIG, grid=grid, samples=256, tile=tile, **NORMALS[normals])
    nerf = NeRF(config, generator())
    with Peak() as memory:
        stepped(nerf, views(size))
    return memory.bytes


@pytest.mark.parametrize("normals", NORMALS)
def test_memory_grows_with_the_tile_and_not_with_the_image(normals: str) -> None:
    """At most a quarter of one pass's; of a larger image only its pixels are added, at some hundred bytes each."""
    rays = 2 * 24**2
    whole, tiled = peak(24, 0, normals), peak(24, rays // 14, normals)
    assert tiled < whole / 4
    assert (peak(36, rays // 14, normals) - tiled) / (1.25 * rays) < 300
    assert peak(24, rays // 4, normals) > 1.5 * tiled


def test_the_published_presets_are_rendered_in_tiles() -> None:
    recipes = {name: make() for name, make in PRESETS.items()}
    tiles = {name: recipe.scene.tile for name, recipe in recipes.items()}  # type: ignore[attr-defined]
    assert tiles["fast"] == 0, "all rays at once"
    assert 0 < tiles["low-vram"] < tiles["paper"] < 512**2
    assert changed(recipes["low-vram"], "scene.tile", tiles["paper"]) == recipes["paper"]
