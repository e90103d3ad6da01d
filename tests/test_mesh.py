"""Meshes of fields compared with closed forms; mesh files read by independent readers."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from balls import GREEN, ORANGE, Balls, ball, two_balls
from torch import Tensor

from scoredistill.export.glb import linear, write_glb
from scoredistill.export.mesh import Mesh, extract
from scoredistill.export.obj import write_obj, write_ply

BARE = {"faces": 0, "texture": 0}


@pytest.fixture(scope="module")
def pair() -> Mesh:
    """A big orange ball and a small green one, displaced differently along each axis."""
    return extract(two_balls((0.3, 0.7, 0.5), 0.2), resolution=48, **BARE)


def solid(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


# ---- mesh ----


def test_a_given_threshold_is_the_level_set_of_the_density() -> None:
    field = ball(peak=100.0, softness=0.02)
    mesh = extract(field, resolution=40, threshold=20.0, **BARE)
    radius = 0.5 - 0.02 * math.log(20 / (100 - 20))  # sigmoid inverted
    assert torch.allclose(mesh.vertices.norm(dim=-1), torch.tensor(radius), atol=0.005 * 2 / 39)


@pytest.mark.parametrize(("peak", "softness"), [(30.0, 0.05), (100.0, 0.02), (1000.0, 0.01), (10000.0, 0.01)])
def test_the_automatic_surface_has_the_silhouette_of_the_render(peak: float, softness: float) -> None:
    field = ball(peak=peak, softness=softness)
    half = torch.linspace(-1, 1, 2001, dtype=torch.float64)  # positions on rays that pass the center at 900 distances
    away = torch.linspace(0.3, 0.75, 900, dtype=torch.float64)
    depth = peak * torch.sigmoid((0.5 - torch.hypot(half, away[:, None])) / softness)
    opacity = 1 - torch.exp(-torch.trapezoid(depth, half, dim=1))
    radius = float(away[(opacity - 0.5).abs().argmin()])  # a ray that passes at this distance is half opaque
    mesh = extract(field, resolution=96, **BARE)
    assert float(mesh.vertices.norm(dim=-1).mean()) == pytest.approx(radius, abs=0.5 * 2 / 95)


def test_fog_that_fills_the_cube_does_not_move_the_surface() -> None:
    class Foggy(Balls):
        def density(self, points: Tensor) -> Tensor:
            return super().density(points) + 0.05  # optical depth 0.1 over the whole cube

    clear = ball()
    foggy = Foggy(clear.centers, clear.radii, clear.colors)
    radii = [float(extract(field, resolution=64, **BARE).vertices.norm(dim=-1).mean()) for field in (clear, foggy)]
    assert radii[1] == pytest.approx(radii[0], abs=0.5 * 2 / 63)


def test_a_ball_has_the_correct_volume_area_and_normals() -> None:
    mesh = extract(ball(), resolution=64, threshold=50.0, **BARE)
    surface = solid(mesh)
    assert surface.is_watertight
    assert surface.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.005)
    assert surface.area == pytest.approx(4 * math.pi * 0.5**2, rel=0.005)
    outward = torch.nn.functional.normalize(mesh.vertices, dim=-1)
    assert float((mesh.normals * outward).sum(-1).min()) > 0.998
    assert torch.allclose(mesh.colors, torch.tensor(ORANGE).expand_as(mesh.colors), atol=1e-6)


def test_axes_and_colors_are_preserved(pair: Mesh) -> None:
    green = (pair.colors - torch.tensor(GREEN)).abs().amax(-1) < 0.02
    center = 0.5 * (pair.vertices[green].amin(0) + pair.vertices[green].amax(0))
    assert torch.allclose(center, torch.tensor([0.3, 0.7, 0.5]), atol=0.03)
    orange = (pair.colors - torch.tensor(ORANGE)).abs().amax(-1) < 0.02
    assert float(pair.vertices[orange].norm(dim=-1).mean()) == pytest.approx(0.44, abs=2 / 47)  # radius of its soft rim
    assert float((green | orange).float().mean()) > 0.99


@pytest.mark.parametrize(("radius", "pieces"), [(0.01, 1), (0.02, 1), (0.08, 2)])
def test_small_floaters_are_removed_and_large_pieces_retained(radius: float, pieces: int) -> None:
    mesh = extract(two_balls((0.7, 0.7, 0.7), radius), resolution=96, threshold=30.0, **BARE)
    assert solid(mesh).body_count == pieces


def test_the_wall_of_a_cavity_is_removed() -> None:
    class Shell(Balls):
        def density(self, points: Tensor) -> Tensor:
            return super().density(points) * torch.sigmoid((points.norm(dim=-1) - 0.3) / self.softness)

    full = ball()
    mesh = extract(Shell(full.centers, full.radii, full.colors), resolution=48, **BARE)
    assert solid(mesh).body_count == 1
    assert float(mesh.vertices.norm(dim=-1).min()) > 0.45


def test_an_object_that_touches_the_cube_is_closed() -> None:
    mesh = extract(ball(radius=1.2), resolution=32, **BARE)
    assert solid(mesh).is_watertight
    assert float(mesh.vertices.abs().max()) <= 1 + 2 / 31 / 128


def test_a_nearly_transparent_skin_does_not_change_the_color() -> None:
    class Skinned(Balls):
        def color(self, points: Tensor) -> Tensor:
            outside = points.norm(dim=-1, keepdim=True) > 0.51
            return torch.tensor(GREEN).where(outside, torch.tensor(ORANGE))

    full = ball(peak=2000.0, softness=0.002)  # optical depth of the skin: 4 log(1 + exp(-5)) = 0.03
    field = Skinned(full.centers, full.radii, full.colors, full.peak, full.softness)
    mesh = extract(field, resolution=64, threshold=1.0, **BARE)
    assert float(mesh.vertices.norm(dim=-1).min()) > 0.511  # all vertices lie in the skin
    assert float((mesh.colors - torch.tensor(ORANGE)).abs().mean()) < 0.05


def test_an_empty_volume_is_an_error_of_one_line() -> None:
    with pytest.raises(ValueError, match=r"the volume is empty.*largest density 0\.1.*train longer") as caught:
        extract(ball(peak=0.1), resolution=24, **BARE)
    assert "\n" not in str(caught.value)


def test_a_threshold_above_all_densities_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no surface at threshold 500.*choose a threshold in this range"):
        extract(ball(), resolution=24, threshold=500.0, **BARE)


@pytest.mark.parametrize("wrong", [{"resolution": 1}, {"faces": -1}, {"texture": -5}, {"texture": 8}])
def test_settings_out_of_range_are_errors(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"a resolution of 2 or more, faces.*got .*" + str(*wrong.values())):
        extract(ball(), **wrong)


def test_a_diverged_volume_is_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        extract(ball(peak=math.nan), resolution=24, **BARE)


# ---- files of meshes ----


def test_srgb_to_linear_equals_the_standard() -> None:
    display = torch.linspace(0, 1, 256, dtype=torch.float64)
    light = linear(display)
    back = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert torch.allclose(back, display, atol=1e-6)
    assert float(linear(torch.tensor(0.5))) == pytest.approx(0.214041, abs=1e-6)


def test_glb_is_read_by_trimesh(pair: Mesh, tmp_path: Path) -> None:
    write_glb(pair, tmp_path / "mesh.glb")
    (read,) = trimesh.load(tmp_path / "mesh.glb", process=False).geometry.values()
    assert read.vertices == pytest.approx(pair.vertices.numpy())
    assert (read.faces == pair.faces.numpy()).all()
    assert read.is_watertight and read.volume > 0
    assert np.abs(read.visual.vertex_attributes["color"] - linear(pair.colors).numpy()).max() < 1e-6
    assert np.abs(read.vertex_normals - pair.normals.numpy()).max() < 1e-6


def test_glb_has_the_fields_that_viewers_need(pair: Mesh, tmp_path: Path) -> None:
    write_glb(pair, tmp_path / "mesh.glb", extras={"prompt": 'a "big" ball é'})
    data = (tmp_path / "mesh.glb").read_bytes()
    magic, version, length, size, kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    assert size % 4 == 0
    content = json.loads(data[20 : 20 + size])
    assert content["asset"]["extras"]["prompt"] == 'a "big" ball é'
    primitive = content["meshes"][0]["primitives"][0]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "COLOR_0"}
    material = content["materials"][primitive["material"]]
    assert material["doubleSided"] and material["pbrMetallicRoughness"]["metallicFactor"] == 0
    position = content["accessors"][primitive["attributes"]["POSITION"]]
    assert position["max"] == pytest.approx(pair.vertices.amax(0).tolist())
    color = content["accessors"][primitive["attributes"]["COLOR_0"]]
    start = 28 + size + content["bufferViews"][color["bufferView"]]["byteOffset"]
    stored = np.frombuffer(data, "<f4", 3 * color["count"], start).reshape(-1, 3)
    display = np.where(stored <= 0.0031308, 12.92 * stored, 1.055 * stored ** (1 / 2.4) - 0.055)
    assert np.abs(display - pair.colors.numpy()).max() < 1e-5


@pytest.mark.parametrize(("write", "name"), [(write_obj, "mesh.obj"), (write_ply, "mesh.ply")])
def test_obj_and_ply_are_read_by_trimesh(write, name: str, pair: Mesh, tmp_path: Path) -> None:
    write(pair, tmp_path / name)
    read = trimesh.load(tmp_path / name, force="mesh", process=False)
    x, y, z = pair.vertices.numpy().T
    expected = np.stack([x, -z, y] if name == "mesh.ply" else [x, y, z], -1)  # readers of PLY expect z up
    assert read.vertices == pytest.approx(expected, abs=1e-5)
    assert (read.faces == pair.faces.numpy()).all()
    assert np.abs(read.visual.vertex_colors[:, :3] / 255 - pair.colors.numpy()).max() <= 1 / 255


@pytest.mark.parametrize("write", [write_glb, write_obj, write_ply])
def test_an_unwritable_path_is_an_oserror_that_names_it(write, pair: Mesh, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write(pair, tmp_path / "nowhere" / "mesh")


def test_an_obj_and_its_files_are_replaced_together(tmp_path: Path) -> None:
    """Where one of the three files cannot be replaced, none is."""
    (tmp_path / "mesh-color.png").mkdir()
    (tmp_path / "mesh.obj").write_text("old")
    with pytest.raises(ValueError, match=r"mesh-color\.png is a folder"):
        write_obj(extract(ball(), resolution=16, faces=200, texture=32), tmp_path / "mesh.obj")
    assert (tmp_path / "mesh.obj").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mesh-color.png", "mesh.obj"]
