"""Exports against closed forms: spheres of known radius, files read back by independent readers."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from torch import Tensor

from scoredistill.contracts import Frame
from scoredistill.export.curves import curve
from scoredistill.export.glb import linear, write_glb
from scoredistill.export.images import enlarge, grid, normal_image, png, preview, write_png, write_turntable
from scoredistill.export.mesh import Mesh, extract
from scoredistill.export.obj import write_obj, write_ply
from scoredistill.export.page import Page, render_page, write_page

ORANGE, GREEN = (0.98, 0.5, 0.05), (0.1, 0.6, 0.2)


@dataclass
class Balls:
    """Soft balls in a cube, density = peak * sigmoid((radius - distance) / softness) of the nearest."""

    centers: Tensor
    radii: Tensor
    colors: Tensor
    peak: float = 100.0
    softness: float = 0.02
    bounds: float = 1.0

    def density(self, points: Tensor) -> Tensor:
        return self.peak * torch.sigmoid(self._depth(points).amax(1) / self.softness)

    def color(self, points: Tensor) -> Tensor:
        return self.colors[self._depth(points).argmax(1)]

    def _depth(self, points: Tensor) -> Tensor:
        return self.radii - torch.linalg.norm(points[:, None] - self.centers, dim=-1)


def ball(radius: float = 0.5, **settings: float) -> Balls:
    return Balls(torch.zeros(1, 3), torch.tensor([radius]), torch.tensor([ORANGE]), **settings)


def two_balls(second: tuple[float, float, float], radius: float) -> Balls:
    return Balls(torch.tensor([(0.0, 0, 0), second]), torch.tensor([0.4, radius]), torch.tensor([ORANGE, GREEN]))


@pytest.fixture(scope="module")
def pair() -> Mesh:
    """A big orange ball and a small green one above it, to its left and in front: no two axes alike."""
    return extract(two_balls((0.3, 0.7, 0.5), 0.2), resolution=48)


def solid(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


def frames(count: int, size: int = 16) -> Frame:
    """Views that differ: the object is a square that moves with the view."""
    opacity = torch.zeros(count, 1, size, size)
    for index in range(count):
        opacity[index, :, 4:12, index % 8 : index % 8 + 8] = 1
    color, normal = torch.tensor(ORANGE)[:, None, None], torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    return Frame(opacity * color + (1 - opacity), opacity, opacity, opacity * normal)


# ---- mesh ----


def test_a_given_threshold_is_the_level_set_of_the_true_density() -> None:
    field = ball(peak=100.0, softness=0.02)
    mesh = extract(field, resolution=40, threshold=20.0)
    radius = 0.5 - 0.02 * math.log(20 / (100 - 20))  # sigmoid inverted
    assert torch.allclose(mesh.vertices.norm(dim=-1), torch.tensor(radius), atol=0.005 * 2 / 39)


@pytest.mark.parametrize(("peak", "softness"), [(30.0, 0.05), (100.0, 0.02), (1000.0, 0.002), (10000.0, 0.01)])
def test_the_automatic_surface_is_where_a_ray_is_half_opaque(peak: float, softness: float) -> None:
    # On a ray through the center: int density = peak * softness * log(1 + exp((0.5 - r) / softness)) = ln 2.
    radius = 0.5 - softness * math.log(math.expm1(math.log(2) / (peak * softness)))
    mesh = extract(ball(peak=peak, softness=softness), resolution=96)
    # Rays that graze the ball pass through more of its soft rim than the one through the center.
    assert abs(float(mesh.vertices.norm(dim=-1).mean()) - radius) < 2 / 95 + 0.25 * softness


def test_fog_that_fills_the_cube_does_not_move_the_surface() -> None:
    class Foggy(Balls):
        def density(self, points: Tensor) -> Tensor:
            return super().density(points) + 0.05  # optical depth 0.1 over the whole cube

    clear = ball()
    foggy = Foggy(clear.centers, clear.radii, clear.colors)
    radii = [float(extract(field, resolution=64).vertices.norm(dim=-1).mean()) for field in (clear, foggy)]
    assert radii[1] == pytest.approx(radii[0], abs=0.5 * 2 / 63)


def test_a_ball_has_its_volume_its_area_and_outward_normals() -> None:
    mesh = extract(ball(), resolution=64, threshold=50.0)
    surface = solid(mesh)
    assert surface.is_watertight
    assert surface.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.005)
    assert surface.area == pytest.approx(4 * math.pi * 0.5**2, rel=0.005)
    outward = torch.nn.functional.normalize(mesh.vertices, dim=-1)
    assert float((mesh.normals * outward).sum(-1).min()) > 0.998
    assert torch.allclose(mesh.colors, torch.tensor(ORANGE).expand_as(mesh.colors), atol=1e-6)


def test_world_axes_are_kept_and_each_ball_has_its_color(pair: Mesh) -> None:
    green = (pair.colors - torch.tensor(GREEN)).abs().amax(-1) < 0.02
    center = 0.5 * (pair.vertices[green].amin(0) + pair.vertices[green].amax(0))
    assert torch.allclose(center, torch.tensor([0.3, 0.7, 0.5]), atol=0.03)
    orange = (pair.colors - torch.tensor(ORANGE)).abs().amax(-1) < 0.02
    radius = 0.4 - 0.02 * math.log(math.expm1(math.log(2) / 2))  # as in the test above: peak * softness = 2
    assert float(pair.vertices[orange].norm(dim=-1).mean()) == pytest.approx(radius, abs=2 / 47)
    assert float((green | orange).float().mean()) > 0.99


@pytest.mark.parametrize(("radius", "pieces"), [(0.01, 1), (0.02, 1), (0.08, 2)])
def test_a_small_floater_is_dropped_and_a_large_piece_kept(radius: float, pieces: int) -> None:
    mesh = extract(two_balls((0.7, 0.7, 0.7), radius), resolution=96, threshold=30.0)
    assert solid(mesh).body_count == pieces


def test_the_wall_of_a_cavity_is_dropped() -> None:
    class Shell(Balls):
        def density(self, points: Tensor) -> Tensor:
            return super().density(points) * torch.sigmoid((points.norm(dim=-1) - 0.3) / self.softness)

    full = ball()
    mesh = extract(Shell(full.centers, full.radii, full.colors), resolution=48)
    assert solid(mesh).body_count == 1
    assert float(mesh.vertices.norm(dim=-1).min()) > 0.45


def test_an_object_that_touches_the_walls_is_closed_there() -> None:
    mesh = extract(ball(radius=1.2), resolution=32)
    assert solid(mesh).is_watertight
    assert float(mesh.vertices.abs().max()) <= 1 + 2 / 31 / 128


def test_a_skin_of_another_color_that_no_ray_sees_does_not_show() -> None:
    class Skinned(Balls):
        def color(self, points: Tensor) -> Tensor:
            outside = points.norm(dim=-1, keepdim=True) > 0.51
            return torch.tensor(GREEN).where(outside, torch.tensor(ORANGE))

    full = ball(peak=2000.0, softness=0.002)  # optical depth of the skin: 4 log(1 + exp(-5)) = 0.03
    field = Skinned(full.centers, full.radii, full.colors, full.peak, full.softness)
    mesh = extract(field, resolution=64, threshold=1.0)
    assert float(mesh.vertices.norm(dim=-1).min()) > 0.511  # all vertices lie in the skin
    assert float((mesh.colors - torch.tensor(ORANGE)).abs().mean()) < 0.05


def test_an_empty_volume_says_so_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"the volume is empty.*largest density 0\.1.*train longer") as caught:
        extract(ball(peak=0.1), resolution=24)
    assert "\n" not in str(caught.value)


def test_a_threshold_above_all_densities_says_so() -> None:
    with pytest.raises(ValueError, match=r"no surface at threshold 500.*choose a threshold inside"):
        extract(ball(), resolution=24, threshold=500.0)


def test_a_diverged_volume_says_so() -> None:
    with pytest.raises(ValueError, match="not finite"):
        extract(ball(peak=math.nan), resolution=24)


# ---- files of meshes ----


def test_srgb_to_linear_is_the_standards_curve() -> None:
    display = torch.linspace(0, 1, 256, dtype=torch.float64)
    light = linear(display)
    back = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert torch.allclose(back, display, atol=1e-6)
    assert float(linear(torch.tensor(0.5))) == pytest.approx(0.214041, abs=1e-6)


def test_glb_read_back_by_another_reader(pair: Mesh, tmp_path: Path) -> None:
    write_glb(pair, tmp_path / "mesh.glb")
    (read,) = trimesh.load(tmp_path / "mesh.glb", process=False).geometry.values()
    assert read.vertices == pytest.approx(pair.vertices.numpy())
    assert (read.faces == pair.faces.numpy()).all()
    assert read.is_watertight and read.volume > 0
    assert np.abs(read.visual.vertex_attributes["color"] - linear(pair.colors).numpy()).max() < 1e-6
    assert np.abs(read.vertex_normals - pair.normals.numpy()).max() < 1e-6


def test_glb_says_what_a_viewer_needs(pair: Mesh, tmp_path: Path) -> None:
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
def test_obj_and_ply_read_back(write, name: str, pair: Mesh, tmp_path: Path) -> None:
    write(pair, tmp_path / name)
    read = trimesh.load(tmp_path / name, force="mesh", process=False)
    assert read.vertices == pytest.approx(pair.vertices.numpy(), abs=1e-5)
    assert (read.faces == pair.faces.numpy()).all()
    assert np.abs(read.visual.vertex_colors[:, :3] / 255 - pair.colors.numpy()).max() <= 1 / 255


@pytest.mark.parametrize("write", [write_glb, write_obj, write_ply])
def test_an_unwritable_path_is_an_oserror_that_names_it(write, pair: Mesh, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write(pair, tmp_path / "nowhere" / "mesh")


# ---- pictures and videos ----


def test_png_keeps_every_pixel(tmp_path: Path) -> None:
    levels = torch.arange(256).reshape(1, 16, 16).expand(3, 16, 16) / 255
    write_png(levels, tmp_path / "levels.png")
    read = np.asarray(Image.open(tmp_path / "levels.png"))
    assert (read == np.arange(256).reshape(16, 16, 1)).all()


def test_a_contact_sheet_has_its_images_in_reading_order() -> None:
    images = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 3, 6, 8) / 10
    sheet = grid(images, columns=3, gap=2)
    assert sheet.shape == (3, 14, 28)
    assert sheet[0, 0, [0, 8, 10, 20]].tolist() == pytest.approx([0.0, 1.0, 0.1, 0.2])
    assert sheet[0, 8, [0, 10, 20]].tolist() == pytest.approx([0.3, 0.4, 1.0])


def test_small_images_are_enlarged_to_even_sides_and_large_ones_left() -> None:
    assert enlarge(torch.rand(2, 3, 15, 21), 64).shape == (2, 3, 64, 90)
    large = torch.rand(1, 3, 300, 300)
    assert enlarge(large, 256) is large


def test_normals_are_colors_over_the_background() -> None:
    image = normal_image(frames(1), torch.tensor([0.2, 0.4, 0.6]))
    assert image[0, :, 0, 15].tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert image[0, :, 8, 4].tolist() == pytest.approx([0.5, 0.5, 1.0])


def test_the_preview_has_colors_above_and_normals_below() -> None:
    sheet = preview(frames(4), torch.ones(3), size=32)
    assert sheet.shape == (3, 2 * 32 + 4, 4 * 32 + 3 * 4)
    assert sheet[:, 16, 8].tolist() == pytest.approx(ORANGE, abs=0.01)
    assert sheet[:, 36 + 16, 8].tolist() == pytest.approx([0.5, 0.5, 1.0], abs=0.01)


def test_the_turntable_is_a_video_of_three_panels(tmp_path: Path) -> None:
    path = tmp_path / "turntable.mp4"
    write_turntable((frames(4) for _ in range(3)), path, background=torch.ones(3), fps=10, size=64)
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (12, pytest.approx(1.2))
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    assert meta["source_size"] == (192, 64) and meta["codec"] == "h264" and "yuv420p" in meta["pix_fmt"]
    first = np.frombuffer(next(reader), np.uint8).reshape(64, 192, 3) / 255
    assert first[32, 16] == pytest.approx(ORANGE, abs=0.06)
    assert first[32, 64 + 16] == pytest.approx([0.5, 0.5, 1.0], abs=0.06)
    assert first[32, 128 + 16] == pytest.approx([1, 1, 1], abs=0.06)
    assert first[4, 128 + 60] == pytest.approx([0, 0, 0], abs=0.06)


def test_a_turntable_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames"):
        write_turntable([], tmp_path / "turntable.mp4", background=torch.ones(3))
    assert not list(tmp_path.iterdir())


def test_a_video_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_turntable([frames(1)], tmp_path / "nowhere" / "turntable.mp4", background=torch.ones(3))
    full = tmp_path / "full.mp4"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"full\.mp4.*No space left") as caught:
        write_turntable([frames(8)], full, background=torch.ones(3), size=64)
    assert "\n" not in str(caught.value)


# ---- the page ----

HOSTILE = '</title><script>alert(1)</script> "a" & <img src=x onerror=alert(2)>'
PIXEL = png(torch.zeros(3, 2, 2))


def full_page(folder: Path, mesh: Mesh, text: str) -> Page:
    write_glb(mesh, folder / "mesh.glb")
    write_turntable([frames(2)], folder / "turntable.mp4", background=torch.ones(3), size=32)
    log = [{"step": step, "loss": 1 / (1 + step), text: 2.0, "note": text} for step in range(50)]
    return Page(
        text,
        text,
        mesh=folder / "mesh.glb",
        video=folder / "turntable.mp4",
        pictures={text: PIXEL},
        probes=[(text, {text: PIXEL})],
        log=log,
        metrics={text: text},
        config={text: {text: [text]}},
        method=text,
        citation=text,
        command=text,
    )


def without_viewer(html: str) -> str:
    return re.sub(r'<script type="module">.*</script>', "", html, flags=re.DOTALL)


def test_whatever_the_text_says_it_stays_text(pair: Mesh, tmp_path: Path) -> None:
    html = without_viewer(render_page(full_page(tmp_path, pair, HOSTILE)))
    assert "<script" not in html and "<img src=x" not in html
    assert html.count("</title>") == 1
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_the_page_loads_nothing_and_its_policy_allows_nothing(pair: Mesh, tmp_path: Path) -> None:
    html = render_page(full_page(tmp_path, pair, "a ball"))
    page = without_viewer(html)
    assert not re.search(r"https?://|@import|url\(|<link|<iframe|<script", page)
    assert set(re.findall(r'src="([a-z0-9/:-]+);', page)) == {
        "data:model/gltf-binary",
        "data:video/mp4",
        "data:image/png",
    }
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "default-src 'none'" in policy.group(1) and "http" not in policy.group(1)
    script = re.findall(r'<script type="module">(.*)</script>', html, flags=re.DOTALL)
    assert len(script) == 1 and "</script" not in script[0]
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy.group(1)


def test_the_page_embeds_what_it_is_given(pair: Mesh, tmp_path: Path) -> None:
    write_page(full_page(tmp_path, pair, "a ball"), tmp_path / "index.html")
    html = without_viewer((tmp_path / "index.html").read_text("utf-8"))
    for name in ("mesh.glb", "turntable.mp4"):
        assert base64.b64encode((tmp_path / name).read_bytes()).decode() in html
    assert html.count("<svg") == 2  # the loss and the number that the prompt names; the note is no number
    assert all(f"<h2>{title}</h2>" in html for title in ("Views", "What the prior saw", "Curves", "Reproduce"))


def test_a_page_without_a_mesh_has_no_viewer_and_no_empty_section() -> None:
    html = render_page(Page("an image", pictures={"result": PIXEL}))
    assert "model-viewer src" not in html and "<script" not in html
    assert re.findall("<h2>(.*?)</h2>", html) == ["Views"]


def test_a_page_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_page(Page("a ball"), tmp_path / "nowhere" / "index.html")


def positions(drawing: str, shape: str) -> list[list[float]]:
    found = re.search(rf'<{shape} [^>]*points="([^"]*)"', drawing)
    assert found
    return [[float(value) for value in point.split(",")] for point in found.group(1).split()]


def test_a_curve_is_drawn_where_its_values_are() -> None:
    line = positions(curve([0, 50, 100], [1.0, 2.0, 3.0]), "polyline")
    assert line == [[56, 128], [204, 68], [352, 8]]


def test_a_curve_over_many_decades_is_straight_on_a_logarithmic_axis() -> None:
    drawing = curve(range(5), [10.0**-k for k in range(5)])
    assert "log scale" in drawing
    line = np.array(positions(drawing, "polyline"))
    assert np.diff(line[:, 1]) == pytest.approx(30, abs=0.2)


def test_a_curve_leaves_out_what_is_not_finite_and_survives_a_constant() -> None:
    drawing = curve([0, 1, 2, 3], [5.0, math.nan, math.inf, 5.0])
    assert positions(drawing, "polyline") == [[56, 68], [352, 68]]
    assert curve([0, 1], [math.nan, math.nan]) == ""


def test_noise_is_a_band_around_its_mean() -> None:
    drawing = curve(range(1200), [float(step % 2) for step in range(1200)])
    line, band = np.array(positions(drawing, "polyline")), np.array(positions(drawing, "polygon"))
    assert np.abs(line[:, 1] - 68).max() < 8
    assert {band[:, 1].min(), band[:, 1].max()} == {8.0, 128.0}


def test_pngs_may_come_from_files_too(tmp_path: Path) -> None:
    write_png(torch.zeros(3, 2, 2), tmp_path / "pixel.png")
    html = render_page(Page("an image", pictures={"result": tmp_path / "pixel.png"}))
    embedded = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    assert embedded
    assert Image.open(io.BytesIO(base64.b64decode(embedded.group(1)))).size == (2, 2)
