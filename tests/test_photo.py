"""The input picture of a single-view run: cutting out, framing, refused files; and the losses on it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

from scoredistill.camera import Cameras, ring
from scoredistill.contracts import Photo
from scoredistill.scenes.nerf import NeRF
from scoredistill.scenes.photo import PhotoLoss, PhotoScene
from scoredistill.scenes.picture import read_photo
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


def test_an_object_at_the_border_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.dstack([square(), 255 * inside(top=0).numpy().astype(np.uint8)])
    with caplog.at_level(logging.WARNING):
        read_photo(written(tmp_path / "a.png", pixels), camera(), fill=0.8)
    assert "touches the border" in caplog.text


def test_unusable_pictures_are_refused_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = written(tmp_path / "noise.png", rng.integers(0, 255, (20, 20, 3), dtype=np.uint8))
    empty = written(tmp_path / "empty.png", np.full((20, 20, 3), 200, np.uint8))
    clear = written(tmp_path / "clear.png", np.zeros((20, 20, 4), np.uint8))
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    cut = tmp_path / "cut.png"
    cut.write_bytes(written(tmp_path / "whole.png", square()).read_bytes()[:-60])
    refused = {
        tmp_path / "no.png": "there is no picture",
        tmp_path: "is no picture that can be read",
        text: "is no picture that can be read",
        cut: "is no picture that can be read",
        noise: r"neither transparency nor a plain background \(\d+% of its border has one color, 95% must\)",
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
