"""Rasterization of triangles compared with single rays, and the agreement of a mesh with its scene."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from balls import ORANGE, ball
from torch import Tensor

from scoredistill.camera import Cameras, look_at, ring
from scoredistill.export.mesh import Mesh, extract
from scoredistill.recipes.build import build_scene
from scoredistill.recipes.recipe import Recipe
from scoredistill.render import triangles
from scoredistill.render.shading import AMBIENT, HEAD, SKY
from scoredistill.runs.evaluation import mesh_metrics as mesh_metrics_module
from scoredistill.runs.evaluation.mesh_metrics import mesh_metrics, picture

CUBE = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
SIDES = torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]])
SIDES = torch.cat([SIDES, torch.tensor([[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])])


def soup(count: int) -> tuple[Tensor, Tensor]:
    """Random triangles, some of them behind the camera."""
    generator = torch.Generator().manual_seed(0)
    middle = 3 * torch.rand(count, 1, 3, generator=generator) - 1.5
    corners = middle + torch.rand(count, 3, 3, generator=generator) - 0.5
    return corners.flatten(0, 1), torch.arange(3 * count).reshape(count, 3)


def nearest(corners: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> tuple[int, float]:
    """The first face on a ray and its distance, by solving for each face origin + z d = a + s (b - a) + t (c - a)."""
    a, b, c = corners.transpose(1, 0, 2)
    system = np.stack([b - a, c - a, np.broadcast_to(-direction, a.shape)], -1)
    s, t, z = np.linalg.solve(system, (origin - a)[..., None])[..., 0].T
    z = np.where((s >= 0) & (t >= 0) & (s + t <= 1) & (z > 0), z, np.inf)
    return int(z.argmin()) if np.isfinite(z.min()) else -1, float(z.min())


@pytest.mark.parametrize("batch", [7, 1 << 20])
def test_every_pixel_has_the_first_face_on_its_ray(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triangles, "PAIRS", batch)
    vertices, faces = soup(60)
    cameras = ring(2, 12, radius=1.2, fov_deg=70.0)  # among the triangles
    hits = triangles.rasterize_mesh(vertices, faces, cameras)
    origins, directions = (rays.double().numpy() for rays in cameras.rays())
    corners = vertices[faces].double().numpy()
    where = hits.interpolate(vertices, faces).double().numpy()
    for pixel in np.ndindex(2, 12, 12):
        face, distance = nearest(corners, origins[pixel], directions[pixel])
        assert int(hits.face[pixel]) == face
        if face >= 0:
            assert where[pixel] == pytest.approx(origins[pixel] + distance * directions[pixel], abs=1e-4)
    assert 20 < int((hits.face >= 0).sum()) < 280


def test_no_ray_passes_through_a_shared_edge() -> None:
    """Pixel centers lie exactly on the diagonal that the faces share."""
    flat = torch.tensor([[0.0, 0, 1], [8, 0, 1], [8, 8, 1], [0, 8, 1]])
    hits = triangles.rasterize_triangles(flat[torch.tensor([[0, 1, 2], [0, 2, 3]])], 8, 8)
    assert (hits.face >= 0).all()
    assert torch.allclose(hits.weights.sum(-1), torch.ones(8, 8))


def test_a_camera_inside_a_cube_sees_only_its_faces() -> None:
    eye = torch.zeros(1, 3)
    pose = look_at(eye, torch.tensor([[0.3, 0.2, 1.0]]), torch.tensor([[0.0, 1, 0]]))
    one = torch.ones(1)
    cameras = Cameras(pose, one * math.radians(120), 16, 16, 0 * one, 0 * one, 0 * one)
    hits = triangles.rasterize_mesh(CUBE, SIDES, cameras)
    assert (hits.face >= 0).all()
    assert torch.allclose(hits.interpolate(CUBE, SIDES).abs().amax(-1), torch.ones(1, 16, 16), atol=1e-5)


def test_an_empty_mesh_leaves_the_background() -> None:
    behind = torch.tensor([[0.0, 0, 9], [1, 0, 9], [0, 1, 9]])
    mesh = Mesh(behind, torch.tensor([[0, 1, 2]]), behind / 9, torch.ones(3, 3))
    sky = torch.tensor([0.2, 0.5, 0.6])
    assert torch.equal(picture(mesh, ring(1, 8), sky), sky.view(1, 3, 1, 1).expand(1, 3, 8, 8))


def test_a_ball_has_the_correct_silhouette_and_shading() -> None:
    mesh = extract(ball(), resolution=64, threshold=50.0, texture=64)
    rendered = picture(mesh, ring(4, 65, elevation_deg=0.0), torch.zeros(3), lit=True)
    # a ball of radius r at distance d covers a disk of radius focal r / sqrt(d^2 - r^2).
    disk = 0.5 * 65 / math.tan(math.radians(20)) * 0.5 / math.sqrt(2.8**2 - 0.5**2)
    assert float((rendered.sum(1) > 0).float().sum()) == pytest.approx(4 * math.pi * disk**2, rel=0.02)
    light = AMBIENT + 0.5 * SKY + HEAD  # in the middle the normal is horizontal and points to the camera
    assert rendered[:, :, 32, 32] == pytest.approx(light * np.tile(ORANGE, (4, 1)), abs=0.01)


@pytest.fixture
def blob(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Recipe, Any]]:
    """An untrained scene: a soft ball."""
    monkeypatch.setattr(mesh_metrics_module, "RESOLUTION", 64)
    recipe = tiny.fast("a red car")
    with torch.no_grad():
        yield recipe, build_scene(recipe)


def test_the_extracted_mesh_has_a_higher_psnr_than_changed_ones(blob: tuple[Recipe, Any]) -> None:
    mesh = extract(blob[1].volume(), resolution=32, faces=0, texture=0)
    gray = dataclasses.replace(mesh, colors=0 * mesh.colors)
    psnr = [
        mesh_metrics(*blob, dataclasses.replace(other, vertices=size * mesh.vertices))["mesh_psnr"]
        for other, size in ((mesh, 1.0), (mesh, 0.85), (mesh, 1.15), (gray, 1.0))
    ]
    assert psnr[0] > 25
    assert psnr[0] > max(psnr[1:]) + 1
