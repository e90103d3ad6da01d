"""The input picture of a single-view run: cutting out, framing, refused files; and the losses on it."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from torch import Tensor

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import HasOptimizer, Photo
from scoredistill.scenes.image import ImageConfig
from scoredistill.scenes.nerf import NeRF
from scoredistill.scenes.photo import PhotoLoss, PhotoScene
from scoredistill.scenes.picture import read_photo
from scoredistill.scenes.pixels import WORKING, read_pixels
from scoredistill.scenes.regularizers import Ramp, constant

TEAL, RED = (40, 120, 120), (220, 30, 20)


def camera(size: int = 16) -> Cameras:
    return ring(1, size)


def written(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def square(height: int = 40, width: int = 40, top: int = 10, left: int = 12, side: int = 16) -> np.ndarray:
    """A red square with a hole on teal; the hole has the background's color."""
    pixels = np.full((height, width, 3), TEAL, np.uint8)
    pixels[top : top + side, left : left + side] = RED
    pixels[top + 6 : top + 10, left + 6 : left + 10] = TEAL
    return pixels


def inside(height: int = 40, width: int = 40, top: int = 10, left: int = 12, side: int = 16) -> Tensor:
    mask = torch.zeros(height, width)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_transparency_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.dstack([square(), np.full((40, 40), 255, np.uint8)])
    pixels[:5, :, 3] = 0
    pixels[5, :, 3] = 51
    found = read_photo(written(tmp_path / "a.png", pixels), camera())
    expected = torch.ones(40, 40)
    expected[:5], expected[5] = 0, 0.2
    torch.testing.assert_close(found.opacity[0], expected)
    torch.testing.assert_close(found.rgb, torch.tensor(pixels[..., :3]).permute(2, 0, 1) / 255 * expected)
    black = found.over(torch.zeros(3))
    white = found.over(torch.ones(3))
    torch.testing.assert_close(white - black, (1 - expected).expand(3, -1, -1))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_plain_background_is_removed_but_not_its_color_inside_the_object(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(square()).save(path, **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {}))
    found = read_photo(path, camera())
    assert torch.equal(found.opacity[0], inside())
    assert found.rgb[:, 12, 14].tolist() == pytest.approx([value / 255 for value in RED], abs=0.03)
    assert found.rgb[:, 17, 19].tolist() == pytest.approx([value / 255 for value in TEAL], abs=0.03)


def test_framing_centers_the_object(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", square(30, 60, 4, 30, 20))
    found = read_photo(path, camera(), fill=0.8)
    expected = torch.zeros(25, 25)
    expected[3:23, 3:23] = 1  # 20 pixels are 0.8 of 25
    assert torch.equal(found.opacity[0], expected)
    as_it_is = read_photo(path, camera())
    assert as_it_is.opacity.shape == (1, 60, 60)
    assert torch.equal(as_it_is.opacity[0, 15:45], inside(30, 60, 4, 30, 20))
    assert not as_it_is.opacity[0, :15].any()


def test_large_pictures_are_made_smaller_without_dark_edges(tmp_path: Path) -> None:
    """Colors are averaged times opacity: transparent pixels have no weight."""
    pixels = np.zeros((1024, 1024, 4), np.uint8)
    pixels[200:801, 200:801] = (*RED, 255)
    found = read_photo(written(tmp_path / "a.png", pixels), camera())
    assert found.opacity.shape == (1, 512, 512)
    solid = found.opacity[0] > 0.01
    colors = (found.rgb[:, solid] / found.opacity[0, solid]).T
    torch.testing.assert_close(colors, (torch.tensor(RED) / 255).expand_as(colors), atol=1e-5, rtol=0)
    assert 0.01 < float(found.opacity[0, 300, 400]) < 0.99


def test_a_turned_picture_is_turned_upright(tmp_path: Path) -> None:
    pixels = square(40, 40, 2, 12, 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(path, exif=exif)
    assert torch.equal(read_photo(path, camera()).opacity[0], inside(40, 40, 2, 12, 16))


@pytest.mark.parametrize("fill", [0.8, None])
def test_an_object_at_the_border_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fill: float | None
) -> None:
    pixels = np.dstack([square(), 255 * inside(top=0).numpy().astype(np.uint8)])
    with caplog.at_level(logging.WARNING):
        read_photo(written(tmp_path / "a.png", pixels), camera(), fill=fill)
    assert "touches the border" in caplog.text


def rounded(size: int, radius: int) -> np.ndarray:
    """The alpha of a square with transparent corners."""
    away = (np.abs(np.arange(size) - (size - 1) / 2) - (size / 2 - radius)).clip(0)
    return np.where(np.hypot(away, away[:, None]) <= radius, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("cut", ["one pixel of alpha 254", "rounded corners", "a transparent frame"])
def test_alpha_that_cuts_nothing_out_is_no_cut_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: str) -> None:
    """The object is what differs from the plain background, as without alpha; the log says how much it is."""
    alpha = np.full((40, 40), 255, np.uint8)
    if cut == "rounded corners":
        alpha = rounded(40, 9)
    elif cut == "a transparent frame":
        alpha[0] = alpha[:, 0] = 0
    else:
        alpha[3, 3] = 254
    path = written(tmp_path / "a.png", np.dstack([square(), alpha]))
    with caplog.at_level(logging.INFO, "scoredistill"):
        assert torch.equal(read_photo(path, camera()).opacity[0], inside())
    assert "the object covers 16 % of" in caplog.text


def test_little_that_is_left_of_a_picture_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.full((100, 100, 3), 250, np.uint8)
    pixels[20:80, 20:80] = 255
    pixels[48:53, 48:53] = 0
    with caplog.at_level(logging.WARNING):
        read_photo(written(tmp_path / "a.png", pixels), camera())
    assert "covers only 0.2 % of it" in caplog.text


GRAY = np.add.outer(np.arange(16), np.arange(16))[::-1] / 30
"""A ramp over [0, 1]."""


@pytest.mark.parametrize(
    ("suffix", "kind", "full"),
    [
        ("png", "uint8", 255),
        ("png", "uint16", 65_535),
        ("tiff", "uint16", 65_535),
        ("pgm", "uint16", 65_535),
        ("tiff", "int32", 255),
        ("tiff", "int32", 65_535),
        ("tiff", "int32", 2**31 - 1),
        ("tiff", "float32", 1),
        ("tiff", "float32", 255),
    ],
)
def test_every_pixel_format_is_mapped_by_its_own_range(tmp_path: Path, suffix: str, kind: str, full: int) -> None:
    exact = GRAY.astype(np.float64) * full
    path = written(tmp_path / f"a.{suffix}", (exact if kind == "float32" else exact.round()).astype(kind))
    rgb, alpha = read_pixels(path)
    assert bool((alpha == 1).all())
    torch.testing.assert_close(rgb, torch.tensor(GRAY).float().expand(3, -1, -1), atol=0.003, rtol=0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_colors_do_not_depend_on_the_mode_of_the_file(tmp_path: Path, mode: str) -> None:
    gray = Image.fromarray(np.full((16, 16), 255, np.uint8)).convert("RGB")
    image = ImageCms.profileToProfile(
        gray, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    image = image if mode == "LAB" else gray.convert(mode)
    if mode == "P":
        image.save(tmp_path / "a.gif")
    else:
        image.save(tmp_path / "a.tiff", compression="tiff_lzw")  # Pillow 12 cannot read its own plain YCbCr
    rgb, alpha = read_pixels(next(tmp_path.iterdir()))
    torch.testing.assert_close(rgb, torch.ones(3, 16, 16), atol=0.01, rtol=0)
    assert bool((alpha == 1).all())


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_large_pictures_are_shrunk_before_anything_else(tmp_path: Path, suffix: str) -> None:
    Image.new("L", (3 * WORKING, 64), 128).save(tmp_path / f"a.{suffix}")
    rgb, alpha = read_pixels(tmp_path / f"a.{suffix}")
    assert rgb.shape == (3, round(64 / 3), WORKING) and alpha.shape == (1, round(64 / 3), WORKING)
    torch.testing.assert_close(rgb, torch.full_like(rgb, 128 / 255), atol=0.005, rtol=0)


MODES = {
    "png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "jpg": ["L", "RGB", "CMYK"],
    "tiff": ["1", "L", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"],
    "webp": ["RGB", "RGBA"],
    "avif": ["RGB", "RGBA"],
    "gif": ["L", "P"],
    "ppm": ["1", "L", "RGB", "I"],
    "bmp": ["1", "L", "P", "RGB"],
}


@given(data=st.data())
@settings(
    deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_file_is_a_picture_in_0_1_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    """Pictures of random format, mode and size, whole, cut off, or with bytes changed."""
    suffix = data.draw(st.sampled_from(sorted(MODES)))
    width, height = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    image = Image.frombytes("RGBA", (width, height), random.Random(width * height).randbytes(4 * width * height))
    mode = data.draw(st.sampled_from(MODES[suffix]))
    image = image.convert("L").convert(mode) if mode.startswith(("I", "F")) else image.convert(mode)
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    content = bytearray(path.read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8)):
        content[place % len(content)] = value
    path.write_bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    try:
        photo = read_photo(path, camera())
    except ValueError as error:
        assert "\n" not in str(error)
        return
    for values in (photo.rgb, photo.opacity):
        assert bool(((values >= 0) & (values <= 1 + 1e-6)).all())


def test_unusable_pictures_are_refused_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = written(tmp_path / "noise.png", rng.integers(0, 255, (20, 20, 3), dtype=np.uint8))
    empty = written(tmp_path / "empty.png", np.full((20, 20, 3), 200, np.uint8))
    clear = written(tmp_path / "clear.png", np.zeros((20, 20, 4), np.uint8))
    dot = written(tmp_path / "dot.png", np.full((1, 1, 4), 254, np.uint8))
    bomb, damaged, program = tmp_path / "bomb.png", tmp_path / "damaged.avif", tmp_path / "program.eps"
    Image.new("1", (11_000, 10_000)).save(bomb)
    Image.fromarray(square()).save(damaged)
    content = bytearray(damaged.read_bytes())
    content[-200:] = bytes(200)
    damaged.write_bytes(content)
    Image.fromarray(square()).save(program)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    endless = written(tmp_path / "endless.tiff", np.full((20, 20), np.nan, np.float32))
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    cut = tmp_path / "cut.png"
    cut.write_bytes(written(tmp_path / "whole.png", square()).read_bytes()[:-60])
    refused = {
        tmp_path / "no.png": "there is no file",
        tmp_path: "is a folder, not a regular file",
        Path("/dev/zero"): "is a device, not a regular file",
        pipe: "is a pipe, not a regular file",
        damaged: "is no picture that can be read",
        dot: "it has 1 x 1 pixels, at least 8 x 8 are needed",
        bomb: "it has 11000 x 10000 pixels, at most 100,000,000 are read; make it smaller first",
        program: "is no picture that can be read",
        endless: "values that are not finite",
        text: "is no picture that can be read",
        cut: "is no picture that can be read",
        noise: r"neither transparency .* nor a plain background \(\d+% of its border has one color, 95% must\)",
        empty: "shows no object",
        clear: "shows no object",
    }
    for path, message in refused.items():
        with pytest.raises(ValueError, match=message) as error:
            read_photo(path, camera())
        assert "\n" not in str(error.value)


@pytest.fixture
def field() -> NeRF:
    return NeRF(tiny.fast().scene, torch.Generator().manual_seed(0))


def test_losses_of_a_photo_are_mean_squares_and_the_truth_has_none(field: NeRF) -> None:
    white, loss = torch.ones(3), PhotoLoss(Ramp(2.0, 4.0), constant(3.0))
    frame = field.render(camera(), white)
    truth = Photo((frame.rgb - (1 - frame.opacity))[0].detach(), frame.opacity[0].detach(), camera())
    assert float(PhotoScene(field, truth, white, loss).loss(0.0)) < 1e-10
    none = Photo(torch.zeros(3, 16, 16), torch.zeros(1, 16, 16), camera())
    scene = PhotoScene(field, none, white, loss)
    rgb, mask = (frame.rgb - 1).square().mean(), frame.opacity.square().mean()
    for progress, weight in ((0.0, 2.0), (0.5, 3.0)):
        torch.testing.assert_close(scene.loss(progress), weight * rgb + 3 * mask)
    own = field.regularizer(frame, camera(), 0.5)
    torch.testing.assert_close(scene.regularizer(frame, camera(), 0.5), own + scene.loss(0.5))


def test_optimizing_the_photo_losses_alone_fits_the_photo(field: NeRF) -> None:
    """They have gradients in every parameter; the checkpoint is the scene's own."""
    opacity = torch.zeros(1, 16, 16)
    opacity[:, 5:11, 5:11] = 1
    picture = Photo(opacity * torch.tensor([0.9, 0.1, 0.1])[:, None, None], opacity, camera())
    scene = PhotoScene(field, picture, torch.ones(3), PhotoLoss(constant(1.0), constant(1.0)))
    assert scene.state_dict().keys() == field.state_dict().keys()
    optimizer = torch.optim.Adam(scene.param_groups())
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = scene.loss(0.0)
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
    assert all(value.grad is not None and bool(value.grad.any()) for value in field.field.parameters())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("descent", [3.0, 0.0])
def test_a_run_with_a_photo_is_stepped_by_the_optimizer_of_its_scene(descent: float) -> None:
    """And by Adam where the scene brings none."""
    flat = ImageConfig(count=1, descent=descent).build(rng=torch.Generator().manual_seed(0), steps=4, resolution=16)
    picture = Photo(torch.ones(3, 16, 16), torch.ones(1, 16, 16), camera())
    scene = PhotoScene(flat, picture, torch.ones(3), PhotoLoss())
    assert isinstance(scene, HasOptimizer) == isinstance(flat, HasOptimizer) == bool(descent)
    if isinstance(scene, HasOptimizer) and isinstance(flat, HasOptimizer):
        assert type(scene.optimizer()) is type(flat.optimizer())
