"""Meshes that splats start from: fitted into the volume with a warning, or refused in one line."""

from __future__ import annotations

import io
import json
import logging
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from balls import ball
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import FLAGS, PROMPT

from scoredistill.cli import main
from scoredistill.export.glb import write_glb
from scoredistill.export.mesh import Mesh, extract
from scoredistill.export.obj import write_obj, write_ply
from scoredistill.runs.finish import open_scene
from scoredistill.runs.folder import RunFolder
from scoredistill.scenes.splats.mesh_file import FITTED, Triangles, areas, read_triangles

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def box(path: Path, size: tuple[float, float, float] = (0.8, 0.6, 0.4), at: tuple[float, ...] = (0, 0, 0)) -> Path:
    mesh = trimesh.creation.box(size)
    mesh.apply_translation(at)
    mesh.export(path)
    return path


def extent(triangles: Triangles) -> tuple[list[float], list[float]]:
    return triangles.corners.amin((0, 1)).tolist(), triangles.corners.amax((0, 1)).tolist()


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply", "stl", "off"])
def test_a_mesh_in_the_volume_stays_where_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str) -> None:
    low, high = extent(read_triangles(box(tmp_path / f"a.{suffix}", at=(0.1, 0, 0)), 1.0))
    assert (low, high) == (pytest.approx([-0.3, -0.3, -0.2]), pytest.approx([0.5, 0.3, 0.2]))
    assert not caplog.text


@pytest.mark.parametrize(
    ("scale", "at", "factor"),
    [
        (1000.0, (0, 0, 0), 0.0015),  # millimeters
        (1e-6, (0, 0, 0), 1.5e6),
        (1.0, (0.55, 0, 0), 1.5),  # off its center
        (1.0, (5e5, 4e6, 100), 1.5),  # in the coordinates of a map
        (1e20, (0, 0, 0), 1.5e-20),
    ],
)
def test_a_mesh_elsewhere_is_fitted_and_the_log_says_by_how_much(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scale: float, at: tuple[float, ...], factor: float
) -> None:
    size = (0.8 * scale, 0.6 * scale, 0.4 * scale)
    with caplog.at_level(logging.WARNING):
        low, high = extent(read_triangles(box(tmp_path / "a.off", size, at), 1.0))
    half = np.array([1, 0.75, 0.5]) * FITTED
    assert low == pytest.approx(-half, abs=1e-6) and high == pytest.approx(half, abs=1e-6)
    assert f"scaled by {factor:.3g} and centered" in caplog.text


def test_it_is_fitted_into_the_scenes_own_volume(tmp_path: Path) -> None:
    assert max(extent(read_triangles(box(tmp_path / "a.stl", (0.01, 0.01, 0.01)), 4.0))[1]) == pytest.approx(4 * FITTED)


@pytest.mark.parametrize(("write", "name"), [(write_glb, "a.glb"), (write_obj, "a.obj"), (write_ply, "a.ply")])
def test_own_files_are_read_upright_whatever_their_axes(write, name: str, tmp_path: Path) -> None:
    """A PLY lies on its back, as its readers expect, and says so in its header."""
    mesh = extract(ball(), resolution=16, faces=200, texture=0)
    tall = Mesh(mesh.vertices * torch.tensor([0.5, 1.5, 1.0]), mesh.faces, mesh.normals, mesh.colors)
    write(tall, tmp_path / name)
    triangles = read_triangles(tmp_path / name, 1.0)
    torch.testing.assert_close(triangles.corners, tall.vertices[tall.faces], atol=1e-5, rtol=0)
    torch.testing.assert_close(triangles.rgb, tall.colors[tall.faces], atol=0.01, rtol=0)


def test_a_textured_mesh_has_the_colors_of_its_texture(tmp_path: Path) -> None:
    mesh = extract(ball(), resolution=16, faces=200, texture=64)
    write_obj(mesh, tmp_path / "a.obj")
    rgb = read_triangles(tmp_path / "a.obj", 1.0).rgb
    torch.testing.assert_close(rgb, mesh.colors[mesh.faces], atol=0.05, rtol=0)


def test_a_run_can_be_opened_when_the_mesh_that_it_started_from_is_gone(
    prior: str, tmp_path: Path, toy_presets: None
) -> None:
    start, out = box(tmp_path / "a.obj"), tmp_path / "run"
    flags = ["--scene", "splats", "--scene.start", str(start), "--scene.count", "20", *FLAGS]
    assert main(["generate", PROMPT, "--prior", prior, "--out", str(out), *flags]) == 0
    state = RunFolder.open(out).load()
    start.unlink()
    recipe, scene = open_scene(out)
    assert recipe.scene.start == str(start)
    assert state is not None and torch.equal(scene.means.detach(), state["scene"]["means"])


def glb(content: dict, blob: bytes = b"") -> bytes:
    header = json.dumps(content).encode()
    header += b" " * (-len(header) % 4)
    chunks = struct.pack("<I4s", len(header), b"JSON") + header + struct.pack("<I4s", len(blob), b"BIN\0") + blob
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def gltf(nodes: list[dict], count: int = 3) -> dict:
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36}],
    }


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.stl", bytes(10**7))
    return buffer.getvalue()


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "a.fbx": (b"Kaydara FBX Binary", "its format is none of glb"),
    "a.blend": (b"BLENDER", "its format is none of glb"),
    "a.zip": (archive(), "its format is none of glb"),
    "a": (TRIANGLE + "f 1 2 3\n", "its format is none of glb"),
    "empty.obj": ("", ""),
    "empty.glb": ("", ""),
    "empty.ply": ("", ""),
    "empty.stl": ("", ""),
    "empty.off": ("", ""),
    "words.glb": ("no mesh", ""),
    "words.obj": ("no mesh", ""),
    "words.stl": ("no mesh", ""),
    "points.obj": (TRIANGLE, "no triangles"),
    "nan.obj": ("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "inf.obj": ("v inf 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "large.obj": ("v 1e300 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "flat.obj": ("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "none of its triangles has an area"),
    "dot.obj": ("v 1 1 1\nf 1 1 1\n", "none of its triangles has an area"),
    "index.obj": (TRIANGLE + "f 1 2 9\n", ""),
    "index.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", "outside the range"),
    "cut.glb": (glb(gltf([{"mesh": 0}]))[:60], ""),
    "short.glb": (glb(gltf([{"mesh": 0}], count=10**12), bytes(36)), ""),
    "zeros.glb": (glb(gltf([{"mesh": 0}], count=10**9), bytes(36)), "its accessors have 1,000,000,000 elements"),
    "list.glb": (glb([]), ""),  # type: ignore[arg-type]
    "cycle.glb": (glb(gltf([{"children": [1]}, {"children": [0], "mesh": 0}]), bytes(36)), ""),
    "outside.gltf": (json.dumps(gltf([{"mesh": 0}]) | {"buffers": [{"byteLength": 36, "uri": "/dev/zero"}]}), ""),
    "nothing.ply": ("ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nend_header\n", ""),
    "binary.ply": ("ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\nend_header\n", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_usable_mesh_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=f"{name} is no mesh that splats can start from: .*{message}") as error:
        read_triangles(tmp_path / name, 1.0)
    assert "\n" not in str(error.value)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.obj")
    (tmp_path / "device.obj").symlink_to("/dev/zero")
    (tmp_path / "folder.obj").mkdir()
    for name, kind in (("pipe", "a pipe"), ("device", "a device"), ("folder", "a folder"), ("none", "there is no")):
        with pytest.raises(ValueError, match=kind):
            read_triangles(tmp_path / f"{name}.obj", 1.0)


SHARED_FOLDER = HealthCheck.function_scoped_fixture  # each example writes the same file anew


@given(data=st.data())
@settings(
    deadline=None, derandomize=True, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_mesh_has_triangles_in_the_volume_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / f"a.{data.draw(st.sampled_from(['glb', 'obj', 'ply', 'stl', 'off']))}"
    content = bytearray(box(path).read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4)):
        content[place % len(content)] = value
    path.write_bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    try:
        triangles = read_triangles(path, 1.0)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert float(triangles.corners.abs().max()) <= 1 + 1e-6
    assert float(areas(triangles.corners).sum()) > 0
    assert bool(((triangles.rgb >= 0) & (triangles.rgb <= 1)).all())
