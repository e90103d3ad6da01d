"""Pictures, videos and pages, read back by independent readers."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from balls import ORANGE, ball
from PIL import Image
from torch import Tensor

from scoredistill.contracts import Frame
from scoredistill.export.curves import curve
from scoredistill.export.glb import write_glb
from scoredistill.export.images import (
    enlarge,
    grid,
    normal_image,
    png,
    preview,
    write_png,
    write_turntable,
    write_video,
)
from scoredistill.export.mesh import Mesh, extract
from scoredistill.export.page import Page, render_page, write_page


@pytest.fixture(scope="module")
def orange() -> Mesh:
    return extract(ball(), resolution=16, faces=200, texture=32)


def frames(count: int, size: int = 16) -> Frame:
    """Different views: the object is a square that moves with the view."""
    opacity = torch.zeros(count, 1, size, size)
    for index in range(count):
        opacity[index, :, 4:12, index % 8 : index % 8 + 8] = 1
    color, normal = torch.tensor(ORANGE)[:, None, None], torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    return Frame(opacity * color + (1 - opacity), opacity, opacity, opacity * normal)


# ---- images and videos ----


def test_png_is_lossless(tmp_path: Path) -> None:
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


def test_small_images_are_enlarged_to_even_sides_and_large_ones_unchanged() -> None:
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


def test_a_turntable_without_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames"):
        write_turntable([], tmp_path / "turntable.mp4", background=torch.ones(3))
    assert not list(tmp_path.iterdir())


def test_a_video_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_turntable([frames(1)], tmp_path / "nowhere" / "turntable.mp4", background=torch.ones(3))
    film = tmp_path / "film.mp4"
    film.write_bytes(b"the old film")
    with pytest.raises(OSError, match=r"film\.mp4.*not divisible by 2") as caught:
        write_video([torch.zeros(3, 33, 33)], film)
    assert "\n" not in str(caught.value)
    assert film.read_bytes() == b"the old film" and len(list(tmp_path.iterdir())) == 1


def test_a_render_that_breaks_off_leaves_the_old_film(tmp_path: Path) -> None:
    def broken() -> Iterator[Tensor]:
        yield torch.zeros(3, 32, 32)
        raise KeyboardInterrupt

    film = tmp_path / "film.mp4"
    film.write_bytes(b"the old film")
    with pytest.raises(KeyboardInterrupt):
        write_video(broken(), film)
    assert film.read_bytes() == b"the old film" and len(list(tmp_path.iterdir())) == 1


def test_colors_of_a_video_are_those_of_its_frames_and_its_tags_say_how(tmp_path: Path) -> None:
    """Saturated colors decode to themselves by the matrix and range of the tags: BT.709, limited, sRGB transfer."""
    colors = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3)
    picture = colors.T[:, None, :, None].expand(3, 32, 27, 32).reshape(3, 32, 27 * 32)
    write_video([picture] * 3, tmp_path / "film.mp4")
    ffmpeg, given = imageio_ffmpeg.get_ffmpeg_exe(), ["-i", str(tmp_path / "film.mp4")]
    about = subprocess.run([ffmpeg, *given], capture_output=True, text=True, check=False).stderr
    assert "yuv420p(tv, bt709/bt709/iec61966-2-1" in about
    for decoding in ([], ["-vf", "scale=in_color_matrix=bt709:in_range=tv"]):
        command = [ffmpeg, "-v", "error", *given, *decoding, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        shown = subprocess.run(command, capture_output=True, check=True).stdout
        first = np.frombuffer(shown, np.uint8).reshape(3, 32, 27 * 32, 3)[0, 16, 16::32] / 255
        assert np.abs(first - colors.numpy()).max() < 0.025


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


def test_all_text_is_escaped(orange: Mesh, tmp_path: Path) -> None:
    html = without_viewer(render_page(full_page(tmp_path, orange, HOSTILE)))
    assert "<script" not in html and "<img src=x" not in html
    assert html.count("</title>") == 1
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_the_page_loads_no_resources_and_its_policy_forbids_them(orange: Mesh, tmp_path: Path) -> None:
    html = render_page(full_page(tmp_path, orange, "a ball"))
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


def test_the_page_embeds_its_contents(orange: Mesh, tmp_path: Path) -> None:
    write_page(full_page(tmp_path, orange, "a ball"), tmp_path / "index.html")
    html = without_viewer((tmp_path / "index.html").read_text("utf-8"))
    for name in ("mesh.glb", "turntable.mp4"):
        assert base64.b64encode((tmp_path / name).read_bytes()).decode() in html
    assert html.count("<svg") == 2  # the loss and the number named like the prompt; the note is not a number
    assert all(f"<h2>{title}</h2>" in html for title in ("Views", "Inputs of the prior", "Curves", "Reproduce"))


def test_a_page_without_a_mesh_has_no_viewer_and_no_empty_section() -> None:
    html = render_page(Page("an image", pictures={"result": PIXEL}))
    assert "model-viewer src" not in html and "<script" not in html
    assert re.findall("<h2>(.*?)</h2>", html) == ["Views"]


def test_a_table_omits_empty_values() -> None:
    html = render_page(Page("an image", metrics={"reason": "", "diverged": False, "similarity": 0.0}))
    assert re.findall("<th>(.*?)</th><td>(.*?)</td>", html) == [("diverged", "false"), ("similarity", "0")]
    assert "<table" not in render_page(Page("an image", metrics={"reason": ""}))


def test_a_page_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_page(Page("a ball"), tmp_path / "nowhere" / "index.html")


def positions(drawing: str, shape: str) -> list[list[float]]:
    found = re.search(rf'<{shape} [^>]*points="([^"]*)"', drawing)
    assert found
    return [[float(value) for value in point.split(",")] for point in found.group(1).split()]


def test_a_curve_is_drawn_at_its_values() -> None:
    line = positions(curve([0, 50, 100], [1.0, 2.0, 3.0]), "polyline")
    assert line == [[56, 128], [204, 68], [352, 8]]


def test_a_curve_over_many_decades_is_straight_on_a_logarithmic_axis() -> None:
    drawing = curve(range(5), [10.0**-k for k in range(5)])
    assert "log scale" in drawing
    line = np.array(positions(drawing, "polyline"))
    assert np.diff(line[:, 1]) == pytest.approx(30, abs=0.2)


def test_a_curve_omits_values_that_are_not_finite() -> None:
    drawing = curve([0, 1, 2, 3], [5.0, math.nan, math.inf, 5.0])
    assert positions(drawing, "polyline") == [[56, 68], [352, 68]]
    assert curve([0, 1], [math.nan, math.nan]) == ""


def test_noise_is_drawn_as_a_band_around_the_mean() -> None:
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
