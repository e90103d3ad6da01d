"""Atlas and texture compared with closed forms: areas, linear functions, a ball colored by direction."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from balls import Balls, ball
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize

from scoredistill.export.glb import write_glb
from scoredistill.export.mesh import Mesh, extract
from scoredistill.export.obj import write_obj
from scoredistill.export.surface import simplify
from scoredistill.export.texture import Atlas, bake, rendered_colors, unwrap

SIZE = 128


class Compass(Balls):
    """A ball whose color is its direction, so that the color at the surface and below it is the same."""

    def color(self, points: Tensor) -> Tensor:
        return 0.5 + 0.5 * normalize(points, dim=-1)


@pytest.fixture(scope="module")
def compass() -> Mesh:
    plain = ball()
    return extract(Compass(plain.centers, plain.radii, plain.colors), resolution=48, faces=1500, texture=SIZE)


@pytest.fixture(scope="module")
def sphere() -> tuple[Tensor, Tensor]:
    """Vertices and faces of a closed surface."""
    mesh = extract(ball(), resolution=24, faces=0, texture=0)
    return mesh.vertices, mesh.faces


def lookup(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear lookup [N 3], with texel centers at (index + 0.5) / size as in glTF."""
    found = grid_sample(texture[None], 2 * uv[None, None] - 1, align_corners=False, padding_mode="border")
    return found[0, :, 0].T


def inside_faces(uv: Tensor, faces: Tensor, size: int) -> np.ndarray:
    """The number of faces that strictly contain each texel center, face by face in double precision."""
    counts = np.zeros((size, size), int)
    for a, b, c in (uv.double() * size)[faces].numpy():
        low = np.floor(np.minimum(np.minimum(a, b), c)).astype(int)
        high = np.ceil(np.maximum(np.maximum(a, b), c)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0:
            continue
        second = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
        third = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
        strictly = (second > 1e-6) & (third > 1e-6) & (second + third < 1 - 1e-6)
        counts[low[1] : high[1], low[0] : high[0]] += strictly
    return counts


# ---- atlas ----


def test_an_atlas_is_in_the_unit_square_without_overlaps(sphere: tuple[Tensor, Tensor]) -> None:
    atlas = unwrap(*sphere, SIZE)
    assert float(atlas.uv.min()) >= 0 and float(atlas.uv.max()) <= 1
    counts = inside_faces(atlas.uv, atlas.faces, 4 * SIZE)
    assert counts.max() == 1
    assert (counts > 0).mean() > 0.4  # most of the texture is used


def test_an_atlas_cuts_the_surface_and_preserves_the_faces(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = sphere
    atlas = unwrap(vertices, faces, SIZE)
    assert (atlas.source[atlas.faces] == faces).all()
    assert len(atlas.source) > len(vertices)


def test_charts_are_separated(sphere: tuple[Tensor, Tensor]) -> None:
    atlas = unwrap(*sphere, SIZE)
    chart = trimesh.graph.connected_component_labels(
        trimesh.Trimesh(atlas.uv.numpy(), atlas.faces.numpy(), process=False).edges, node_count=len(atlas.uv)
    )
    place = atlas.uv.numpy() * SIZE
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
    assert chart.max() > 0
    assert distance[chart[:, None] != chart[None]].min() > 2  # texels: bilinear filters do not mix charts


# ---- colors ----


def test_a_ray_composites_the_layers_that_it_passes() -> None:
    """Density 5 below the plane, gray values that grow with depth: color = sum (1 - q) q^k k / 10 / sum (1 - q) q^k."""

    @dataclass
    class Layers:
        bounds: float = 1.0

        def density(self, points: Tensor) -> Tensor:
            return 5.0 * (points[:, 2] < 0)

        def color(self, points: Tensor) -> Tensor:
            return (-points[:, 2:]).clamp(0, 1).expand(-1, 3)

    cell, start = 0.1, torch.tensor([[0.2, -0.1, -0.05]])
    q, depths = math.exp(-5 * cell), 0.05 + cell * np.arange(7)
    weights = (1 - q) * q ** np.arange(7)
    found = rendered_colors(Layers(), start, torch.tensor([[0.0, 0.0, 1.0]]), cell)
    assert found[0].tolist() == pytest.approx([(weights * depths).sum() / weights.sum()] * 3, abs=1e-5)


def test_texels_have_the_surface_color_at_their_centers(sphere: tuple[Tensor, Tensor]) -> None:
    """A color linear in space, on flat faces: bilinear interpolation between texels of one face is exact."""
    vertices, faces = sphere
    atlas = unwrap(vertices, faces, SIZE)
    texture = bake(atlas, vertices, lambda places: 0.5 + 0.5 * places, SIZE)
    corners = (atlas.uv.double() * SIZE)[atlas.faces]
    solved = 0
    for face in range(0, len(faces), 7):
        a, b, c = corners[face]
        x, y = (corners[face].mean(0)).floor() + 0.5  # the center of a texel near the middle
        edges = torch.stack([b - a, c - a], 1)
        second, third = torch.linalg.solve(edges, torch.stack([x, y]) - a).tolist()
        if min(second, third, 1 - second - third) < 0.01:
            continue
        weights = torch.tensor([1 - second - third, second, third])
        expected = 0.5 + 0.5 * (weights[:, None] * vertices[faces[face]]).sum(0)
        assert torch.allclose(texture[:, int(y), int(x)], expected, atol=1e-5)
        solved += 1
    assert solved > 50


def test_a_baked_texture_is_the_field_at_the_centers_of_texels(compass: Mesh) -> None:
    assert compass.uv is not None and compass.texture is not None
    middle = compass.vertices[compass.faces].mean(1)
    found = lookup(compass.texture, compass.uv[compass.faces].mean(1))
    assert float((found - (0.5 + 0.5 * normalize(middle, dim=-1))).abs().max()) < 0.02


def test_seams_are_invisible_also_in_mipmaps(compass: Mesh) -> None:
    assert compass.uv is not None and compass.texture is not None
    _, same, copies = np.unique(compass.vertices.numpy(), axis=0, return_inverse=True, return_counts=True)
    seam = torch.from_numpy(copies[same] > 1)
    assert int(seam.sum()) > 50
    expected = 0.5 + 0.5 * normalize(compass.vertices[seam], dim=-1)
    texel = math.sqrt(4 * math.pi / (0.6 * SIZE**2))  # radians, where charts fill three fifths of the texture
    for level in (1, 2, 4):
        coarse = avg_pool2d(compass.texture[None], level)[0]
        two_texels = 0.5 * 2 * level * texel  # in colors; those of another chart would be off by up to 1
        assert float((lookup(coarse, compass.uv[seam]) - expected).abs().max()) < two_texels


def test_the_whole_texture_is_filled() -> None:
    """One small triangle in the corner: the rest repeats its colors, so that mipmaps mix in no other color."""
    triangle = Atlas(torch.arange(3), torch.tensor([[0, 1, 2]]), torch.tensor([[0.0, 0], [0.2, 0], [0, 0.2]]))
    red = torch.tensor([[0.9, 0.1, 0.2]])
    texture = bake(triangle, torch.zeros(3, 3), lambda places: red.expand(len(places), -1), 32)
    assert torch.allclose(texture, red.T[..., None].expand(3, 32, 32))


# ---- fewer faces ----


def test_a_simplified_ball_is_still_a_closed_ball(sphere: tuple[Tensor, Tensor]) -> None:
    vertices, faces = simplify(*sphere, 400)
    surface = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert 300 < len(faces) <= 400
    assert surface.is_watertight
    full = trimesh.Trimesh(sphere[0].numpy(), sphere[1].numpy(), process=False)
    assert surface.volume == pytest.approx(full.volume, rel=0.01)
    radii = sphere[0].norm(dim=-1)
    assert torch.allclose(vertices.norm(dim=-1), radii.mean(), atol=0.01)


def flat_disk() -> tuple[Tensor, Tensor]:
    """A disk a fiftieth as thick as it is wide."""
    disk = trimesh.creation.cylinder(0.5, 0.02, sections=256).subdivide()
    return torch.from_numpy(np.array(disk.vertices)).float(), torch.from_numpy(np.array(disk.faces)).long()


@pytest.mark.parametrize("budget", [16, 64])
def test_a_collapsed_wall_leaves_no_faces_back_to_back(budget: int) -> None:
    vertices, faces = simplify(*flat_disk(), budget)
    assert 0 < len(faces) < budget  # some faces coincided and were removed
    assert len(faces.sort(1).values.unique(dim=0)) == len(faces)
    assert faces.unique().tolist() == list(range(len(vertices)))


def test_a_too_small_face_budget_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no faces are left of the surface at 4 faces.*choose more"):
        simplify(*flat_disk(), 4)


def test_a_budget_above_the_face_count_changes_nothing(sphere: tuple[Tensor, Tensor]) -> None:
    for budget in (0, len(sphere[1]), 10**6):
        assert simplify(*sphere, budget)[1] is sphere[1]


# ---- files ----


def test_a_textured_glb_is_read_by_trimesh(compass: Mesh, tmp_path: Path) -> None:
    write_glb(compass, tmp_path / "mesh.glb")
    (read,) = trimesh.load(tmp_path / "mesh.glb", process=False).geometry.values()
    assert compass.uv is not None and compass.texture is not None
    assert (read.faces == compass.faces.numpy()).all()
    assert np.abs(read.visual.uv - compass.uv.numpy() * [1, -1] - [0, 1]).max() < 1e-6  # its v points up
    picture = np.asarray(read.visual.material.baseColorTexture) / 255
    assert np.abs(picture - compass.texture.permute(1, 2, 0).numpy()).max() <= 0.51 / 255


def test_a_textured_glb_conforms_to_gltf(compass: Mesh, tmp_path: Path) -> None:
    write_glb(compass, tmp_path / "mesh.glb")
    data = (tmp_path / "mesh.glb").read_bytes()
    (size,) = struct.unpack("<I", data[12:16])
    content = json.loads(data[20 : 20 + size])
    length, kind = struct.unpack("<I4s", data[20 + size : 28 + size])
    binary = data[28 + size :]
    assert kind == b"BIN\0" and length == len(binary) and length % 4 == 0 and len(data) % 4 == 0
    assert 0 <= length - content["buffers"][0]["byteLength"] < 4
    primitive = content["meshes"][0]["primitives"][0]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}  # COLOR_0 would be multiplied in
    ends = [view["byteOffset"] + view["byteLength"] for view in content["bufferViews"]]
    assert [0, *ends[:-1]] == [view["byteOffset"] for view in content["bufferViews"]]
    assert ends[-1] == content["buffers"][0]["byteLength"]
    assert all(view["byteOffset"] % 4 == 0 for view in content["bufferViews"])
    targets = [view.get("target") for view in content["bufferViews"]]
    assert targets == [34962, 34962, 34962, 34963, None]  # vertices, indices; an image has no target
    material = content["materials"][0]["pbrMetallicRoughness"]
    texture = content["textures"][material["baseColorTexture"]["index"]]
    image = content["images"][texture["source"]]
    assert image["mimeType"] == "image/png"
    start = content["bufferViews"][image["bufferView"]]["byteOffset"]
    assert binary[start : start + 8] == b"\x89PNG\r\n\x1a\n"
    assert float((compass.normals.norm(dim=-1) - 1).abs().max()) < 1e-5


def test_a_textured_obj_is_read_by_trimesh(compass: Mesh, tmp_path: Path) -> None:
    write_obj(compass, tmp_path / "mesh.obj")
    assert {path.name for path in tmp_path.iterdir()} == {"mesh.obj", "mesh.mtl", "mesh-color.png"}
    read = trimesh.load(tmp_path / "mesh.obj", force="mesh", process=False)
    assert compass.uv is not None and compass.texture is not None
    middle = torch.from_numpy(read.visual.uv[read.faces].mean(1) * [1, -1] + [0, 1]).float()
    picture = torch.from_numpy(np.asarray(read.visual.material.image) / 255).permute(2, 0, 1).float()
    direction = normalize(torch.from_numpy(read.vertices[read.faces].mean(1)).float(), dim=-1)
    assert float((lookup(picture, middle) - (0.5 + 0.5 * direction)).abs().max()) < 0.03
