"""Splat files read by independent readers that follow the published property lists."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scoredistill.camera import orbit
from scoredistill.cli import main
from scoredistill.contracts import Gaussians
from scoredistill.export.splat_glb import write_splat_glb
from scoredistill.export.splat_ply import write_splat_ply
from scoredistill.kernels.project import rotation_matrices
from scoredistill.render.harmonics import color
from scoredistill.render.splat import render_splats

PREFIX = "KHR_gaussian_splatting:"


def cloud(count: int, degree: int) -> Gaussians:
    rng = torch.Generator().manual_seed(degree)
    return Gaussians(
        0.4 * torch.randn(count, 3, generator=rng),
        0.05 * torch.exp(torch.randn(count, 3, generator=rng)),
        2 * torch.randn(count, 4, generator=rng),
        torch.rand(count, generator=rng),
        0.3 * torch.randn(count, (degree + 1) ** 2, 3, generator=rng),
    )


def read_ply(path: Path) -> np.ndarray:
    """The vertices of a binary little-endian PLY (Turk 1994), with its property names as the field names."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert lines[2] == "comment scoredistill: -y up, front +z"
    assert lines[3].split()[:2] == ["element", "vertex"]
    fields = [line.split() for line in lines[4:]]
    assert all(words[:2] == ["property", "float"] for words in fields)
    vertices = np.frombuffer(body, np.dtype([(words[2], "<f4") for words in fields]))
    assert len(vertices) == int(lines[3].split()[2])
    return vertices


def stack(rows: np.ndarray, *names: str) -> Tensor:
    return torch.from_numpy(np.stack([rows[name] for name in names], -1).copy())


def from_ply(path: Path) -> Gaussians:
    """Splats of a PLY file as viewers read them (Kerbl et al. 2023), in the axes of the file."""
    rows = read_ply(path)
    rest = sorted((name for name in rows.dtype.names if name.startswith("f_rest_")), key=lambda n: int(n[7:]))
    harmonics = stack(rows, "f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if rest:
        harmonics = torch.cat([harmonics, stack(rows, *rest).view(len(rows), 3, -1).transpose(1, 2)], 1)
    return Gaussians(
        stack(rows, "x", "y", "z"),
        torch.exp(stack(rows, "scale_0", "scale_1", "scale_2")),
        stack(rows, "rot_0", "rot_1", "rot_2", "rot_3"),
        torch.sigmoid(stack(rows, "opacity"))[:, 0],
        harmonics,
    )


def read_glb(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The JSON of a GLB (glTF 2.0, section 4) and the arrays of its one primitive's attributes."""
    content = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    about = json.loads(content[20 : 20 + size])
    blob_size, kind = struct.unpack_from("<I4s", content, 20 + size)
    assert kind == b"BIN\0"
    blob = content[28 + size :]
    assert len(blob) == blob_size == about["buffers"][0]["byteLength"]
    (primitive,) = about["meshes"][0]["primitives"]
    arrays = {}
    for name, index in primitive["attributes"].items():
        accessor = about["accessors"][index]
        view = about["bufferViews"][accessor["bufferView"]]
        assert accessor["componentType"] == 5126
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        assert view["byteLength"] == 4 * width * accessor["count"]
        assert view["byteOffset"] % 4 == 0
        values = np.frombuffer(blob, "<f4", width * accessor["count"], view["byteOffset"])
        arrays[name] = values.reshape(accessor["count"], width)
    return about, arrays


def render_rotated(splats: Gaussians, azimuth: float) -> Tensor:
    """An image by a camera that is rotated with the axes of the file, by 180 degrees about z."""
    angles = (torch.tensor([value]) for value in (azimuth, 0.3, 2.5, 0.7))
    cameras = orbit(*angles, 32)
    cameras.c2w[:, :2] *= -1
    return render_splats(splats, cameras).rgb


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_ply_file_renders_the_same_splats(tmp_path: Path, degree: int) -> None:
    """Read by the published names and rotated as in viewers: the same image from all directions."""
    splats, path = cloud(50, degree), tmp_path / "splats.ply"
    write_splat_ply(splats, path)
    found = from_ply(path)
    assert found.harmonics.shape == splats.harmonics.shape
    for azimuth in (0.0, 1.0, 2.5):
        angles = (torch.tensor([value]) for value in (azimuth, 0.3, 2.5, 0.7))
        expected = render_splats(splats, orbit(*angles, 32)).rgb
        torch.testing.assert_close(render_rotated(found, azimuth), expected, atol=1e-4, rtol=1e-4)


def test_a_ply_file_has_the_published_properties(tmp_path: Path) -> None:
    path = tmp_path / "splats.ply"
    write_splat_ply(cloud(3, 1), path)
    rows = read_ply(path)
    rest = " ".join(f"f_rest_{index}" for index in range(9))
    names = f"x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 {rest} opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    assert " ".join(rows.dtype.names or ()) == names
    assert not stack(rows, "nx", "ny", "nz").any()
    torch.testing.assert_close(stack(rows, "rot_0", "rot_1", "rot_2", "rot_3").norm(dim=-1), torch.ones(3))


def test_trimesh_reads_the_points_of_a_ply_file(tmp_path: Path) -> None:
    import trimesh

    splats, path = cloud(20, 2), tmp_path / "splats.ply"
    write_splat_ply(splats, path)
    points = trimesh.load(path)
    expected = splats.means.numpy() * np.array([-1, -1, 1])
    np.testing.assert_allclose(np.asarray(points.vertices), expected, atol=1e-6)


@pytest.mark.parametrize("degree", [0, 3])
def test_a_glb_file_has_the_attributes_of_the_extension(tmp_path: Path, degree: int) -> None:
    splats, path = cloud(30, degree), tmp_path / "splats.glb"
    write_splat_glb(splats, path)
    about, arrays = read_glb(path)
    assert about["asset"]["version"] == "2.0"
    assert about["extensionsUsed"] == ["KHR_gaussian_splatting"]
    (primitive,) = about["meshes"][0]["primitives"]
    assert primitive["mode"] == 0
    extension = primitive["extensions"]["KHR_gaussian_splatting"]
    assert (extension["kernel"], extension["colorSpace"]) == ("ellipse", "srgb_rec709_display")
    np.testing.assert_allclose(arrays["POSITION"], splats.means)
    np.testing.assert_allclose(arrays[PREFIX + "SCALE"], splats.stds)
    np.testing.assert_allclose(arrays[PREFIX + "OPACITY"][:, 0], splats.opacities)
    w, x, y, z = (splats.rotations / splats.rotations.norm(dim=-1, keepdim=True)).unbind(-1)
    np.testing.assert_allclose(arrays[PREFIX + "ROTATION"], torch.stack([x, y, z, w], -1), atol=1e-6)
    names = [f"SH_DEGREE_{each}_COEF_{n}" for each in range(degree + 1) for n in range(2 * each + 1)]
    found = np.stack([arrays[PREFIX + name] for name in names], 1)
    np.testing.assert_allclose(found, splats.harmonics)
    assert set(arrays) == {"POSITION", "COLOR_0"} | {PREFIX + name for name in ("SCALE", "ROTATION", "OPACITY", *names)}
    bounds = about["accessors"][primitive["attributes"]["POSITION"]]
    np.testing.assert_allclose(bounds["min"], splats.means.amin(0))


def test_a_glb_file_has_points_for_viewers_without_the_extension(tmp_path: Path) -> None:
    """COLOR_0 is linear light and opacity: for a gray splat, sRGB .5 is .2140."""
    splats = cloud(1, 0)
    splats.harmonics[:] = 0
    write_splat_glb(splats, tmp_path / "splats.glb")
    _, arrays = read_glb(tmp_path / "splats.glb")
    np.testing.assert_allclose(arrays["COLOR_0"][0], [0.21404114] * 3 + [float(splats.opacities)], rtol=1e-5)


def test_the_rotation_of_a_glb_file_follows_the_specification(tmp_path: Path) -> None:
    """R of (x, y, z, w) as specified by KHR_gaussian_splatting equals the matrix of the renderer."""
    splats = cloud(10, 0)
    write_splat_glb(splats, tmp_path / "splats.glb")
    _, arrays = read_glb(tmp_path / "splats.glb")
    for row, expected in zip(arrays[PREFIX + "ROTATION"], rotation_matrices(splats.rotations), strict=True):
        x, y, z, w = row.tolist()
        matrix = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        torch.testing.assert_close(torch.tensor(matrix), expected, atol=1e-5, rtol=0)


def test_harmonics_rotate_with_the_axes_of_the_file() -> None:
    """Order m changes by (-1)^m when the world rotates by 180 degrees about z."""
    splats, v = cloud(5, 3), torch.nn.functional.normalize(torch.randn(1, 5, 3), dim=-1)
    signs = torch.tensor([(-1.0) ** m for each in range(4) for m in range(-each, each + 1)])
    turned = color(splats.harmonics * signs[:, None], v * torch.tensor([-1.0, -1.0, 1.0]))
    torch.testing.assert_close(turned, color(splats.harmonics, v))


@pytest.mark.usefixtures("toy_presets")
def test_export_of_splats_requires_a_scene_of_splats(prior: str, tmp_path: Path, capsys) -> None:
    from tiny import FLAGS, PROMPT

    folder = tmp_path / "run"
    run = [
        "generate",
        PROMPT,
        "--scene",
        "splats",
        "--prior",
        prior,
        "--out",
        str(folder),
        "--scene.count",
        "300",
        *FLAGS[2:],
    ]
    assert main([*run, "--steps", "2"]) == 0
    assert main(["export", str(folder), "--format", "splat-ply"]) == 0
    assert main(["export", str(folder), "--format", "splat-glb"]) == 0
    count = len(read_ply(folder / "splats.ply"))
    assert len(read_glb(folder / "splats.glb")[1]["POSITION"]) == count
    assert f"{count} splats" in capsys.readouterr().out
    assert f"{count} splats</figcaption>" in (folder / "index.html").read_text("utf-8")
    field = ["generate", PROMPT, "--prior", prior, "--out", str(tmp_path / "field"), *FLAGS[2:], "--steps", "2"]
    assert main(field) in (0, 1)
    assert main(["export", str(tmp_path / "field"), "--format", "splat-ply"]) == 2
    assert "a format of splats" in capsys.readouterr().err
