"""The input picture of a single-view run: read, cut out of its background, framed.

rgb      colors in [0, 1], times opacity   [3 H W]
opacity  1 on the object                   [1 H W]
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Photo
from scoredistill.scenes.pixels import RGB, read_pixels

log = logging.getLogger(__name__)

LARGEST = 512  # resolution of the framed picture, at most: no prior uses more
LEAST = 1e-3  # share of the picture that an object covers, at least
LITTLE = 0.02  # share below which a warning says how little it is
REMOVED = 0.1  # share of the picture that transparency removes, at least, to be a cut-out
ALIKE = 0.06  # deviation of a plain background from its color, at most: JPEG artifacts
PLAIN = 0.95  # share of the border that has this color, at least: an object may touch it

Opacity = Float[Tensor, "1 H W"]


def read_photo(path: Path, camera: Cameras, *, fill: float | None = None) -> Photo:
    """The object in a picture file, taken with `camera`.

    The object is the opaque part of the picture, or where transparency cuts nothing out, the part that differs from a
    plain background; the log says how much of the picture it is. The picture is made square around the object, whose
    longer side then spans `fill` of it; None leaves the framing as it is.
    ValueError in one line for a file that cannot be read, a background that is not plain, and an empty picture.
    """
    rgb, opacity = cut_out(path)
    share = float((opacity > 0.5).float().mean())
    if share < LEAST:
        raise ValueError(f"{path} shows no object: all of it is background")
    if share < LITTLE:
        log.warning(
            "the object that is left of %s covers only %.1f %% of it: where its background was taken for more than it "
            "is, cut the object out first, as a PNG with transparency",
            path,
            100 * share,
        )
    else:
        log.info("the object covers %.0f %% of %s", 100 * share, path)
    rgb, opacity = framed(rgb * opacity, opacity, fill)
    return Photo(rgb, opacity, camera)


def cut_out(path: Path) -> tuple[RGB, Opacity]:
    """Colors and opacity of a picture file.

    Alpha is the opacity where it removes at least `REMOVED` of the picture. Less cuts no object out (rounded corners,
    a pixel of alpha 254): then the background is what has the plain color of the outline of the visible part, and is
    connected to its outside.
    """
    rgb, alpha = read_pixels(path)
    visible = alpha[0] > 0.5
    if 1 - float(visible.float().mean()) >= REMOVED:
        return rgb, alpha
    outline = rgb[:, visible & ~inner(visible)]
    color = outline.median(1).values
    share = float((_distance(outline, color) < ALIKE).float().mean())
    if share < PLAIN:
        raise ValueError(
            f"{path} has neither transparency around an object nor a plain background ({share:.0%} of its border has "
            f"one color, {PLAIN:.0%} must): cut the object out first, as a PNG with transparency"
        )
    background = reached((_distance(rgb, color) < ALIKE) | ~visible)
    return rgb, alpha * ~background


def inner(visible: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The visible pixels all of whose neighbors are visible and inside the picture."""
    from scipy.ndimage import binary_erosion

    return torch.from_numpy(binary_erosion(visible.numpy()))


def reached(alike: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Background pixels connected to the border: an object may have the background's color inside."""
    from scipy.ndimage import binary_propagation

    border = torch.zeros_like(alike)
    border[[0, -1]] = border[:, [0, -1]] = True
    return torch.from_numpy(binary_propagation((border & alike).numpy(), mask=alike.numpy()))


def framed(rgb: RGB, opacity: Opacity, fill: float | None) -> tuple[Float[Tensor, "3 S S"], Float[Tensor, "1 S S"]]:
    """A square picture of at most `LARGEST` pixels: the object at `fill` in its center, or all as it is."""
    height, width = opacity.shape[1:]
    rows, columns = (torch.nonzero((opacity[0] > 0.5).any(dim)).flatten() for dim in (1, 0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    if top == 0 or left == 0 or bottom == height or right == width:
        log.warning("the object touches the border of its picture: parts cut off there will be missing")
    if fill is None:
        top, left, bottom, right = 0, 0, height, width
    side = round(max(bottom - top, right - left) / (fill or 1))
    top, left = (top + bottom - side) // 2, (left + right - side) // 2
    margins = (-left, left + side - width, -top, top + side - height)  # negative ones cut
    both = F.pad(torch.cat([rgb, opacity]), margins)
    size = min(side, LARGEST)
    both = F.interpolate(both[None], (size, size), mode="bilinear", antialias=True)[0]
    return both[:3], both[3:]


def _distance(rgb: Float[Tensor, "3 *S"], color: Float[Tensor, "3"]) -> Float[Tensor, "*S"]:
    """The largest difference of a channel from a color."""
    return (rgb - color.reshape(3, *[1] * (rgb.ndim - 1))).abs().amax(0)
