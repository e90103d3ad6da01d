"""The input picture of a single-view run: read, cut out of its background, framed.

rgb      colors in [0, 1], times opacity   [3 H W]
opacity  1 on the object                   [1 H W]
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Photo

log = logging.getLogger(__name__)

LARGEST = 512  # resolution of the framed picture, at most: no prior uses more
LEAST = 1e-3  # share of the picture that an object covers, at least
ALIKE = 0.06  # deviation of a plain background from its color, at most: JPEG artifacts
PLAIN = 0.95  # share of the border that has this color, at least: an object may touch it

RGB = Float[Tensor, "3 H W"]
Opacity = Float[Tensor, "1 H W"]


def read_photo(path: Path, camera: Cameras, *, fill: float | None = None) -> Photo:
    """The object in a picture file, taken with `camera`.

    The object is the opaque part of the picture, or where nothing is transparent, the part that differs from a plain
    background. The picture is made square around the object, whose longer side then spans `fill` of it; None leaves the
    framing as it is.
    ValueError in one line for a file that cannot be read, a background that is not plain, and an empty picture.
    """
    rgb, opacity = cut_out(path)
    if float((opacity > 0.5).float().mean()) < LEAST:
        raise ValueError(f"{path} shows no object: all of it is background")
    rgb, opacity = framed(rgb * opacity, opacity, fill)
    return Photo(rgb, opacity, camera)


def cut_out(path: Path) -> tuple[RGB, Opacity]:
    """Colors and opacity of a picture file."""
    rgb, opacity = _pixels(path)
    if opacity.min() < 1:
        return rgb, opacity
    border = torch.cat([rgb[:, [0, -1]].flatten(1), rgb[:, :, [0, -1]].flatten(1)], 1)
    color = border.median(1).values
    share = float((_distance(border, color) < ALIKE).float().mean())
    if share < PLAIN:
        raise ValueError(
            f"{path} has neither transparency nor a plain background ({share:.0%} of its border has one color, "
            f"{PLAIN:.0%} must): cut the object out first, as a PNG with transparency"
        )
    return rgb, 1 - reached(_distance(rgb, color) < ALIKE).to(rgb)[None]


def reached(alike: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Background pixels connected to the border: an object may have the background's color inside."""
    from scipy.ndimage import binary_propagation

    border = torch.zeros_like(alike)
    border[[0, -1]] = border[:, [0, -1]] = True
    return torch.from_numpy(binary_propagation((border & alike).numpy(), mask=alike.numpy()))


def framed(rgb: RGB, opacity: Opacity, fill: float | None) -> tuple[Float[Tensor, "3 S S"], Float[Tensor, "1 S S"]]:
    """A square picture of at most `LARGEST` pixels: the object at `fill` in its center, or all as it is."""
    height, width = opacity.shape[1:]
    top, left, bottom, right = 0, 0, height, width
    if fill is not None:
        rows, columns = (torch.nonzero((opacity[0] > 0.5).any(dim)).flatten() for dim in (1, 0))
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        if top == 0 or left == 0 or bottom == height or right == width:
            log.warning("the object touches the border of its picture: parts cut off there will be missing")
    side = round(max(bottom - top, right - left) / (fill or 1))
    top, left = (top + bottom - side) // 2, (left + right - side) // 2
    margins = (-left, left + side - width, -top, top + side - height)  # negative ones cut
    both = F.pad(torch.cat([rgb, opacity]), margins)
    size = min(side, LARGEST)
    both = F.interpolate(both[None], (size, size), mode="bilinear", antialias=True)[0]
    return both[:3], both[3:]


def _pixels(path: Path) -> tuple[RGB, Opacity]:
    """Upright colors and opacity of a picture file; opacity is 1 where the file has none."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image: Any = ImageOps.exif_transpose(file).convert("RGBA")
    except FileNotFoundError:
        raise ValueError(f"there is no picture {path}") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is no picture that can be read: {error}") from None
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(image.height, image.width, 4)
    pixels = pixels.permute(2, 0, 1).float() / 255
    return pixels[:3], pixels[3:]


def _distance(rgb: Float[Tensor, "3 *S"], color: Float[Tensor, "3"]) -> Float[Tensor, "*S"]:
    """The largest difference of a channel from a color."""
    return (rgb - color.reshape(3, *[1] * (rgb.ndim - 1))).abs().amax(0)
