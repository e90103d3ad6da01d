"""Pixels of a picture file: every format mapped to [0, 1] by its own range, large pictures shrunk, memory bounded.

rgb      colors in [0, 1], not premultiplied   [3 H W]
alpha    1 where the file is opaque            [1 H W]
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.files import check_regular

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA", "ICO")
"""What is read: none of them starts another program, as Pillow does for EPS."""
BYTES = 512 * 2**20  # size of a file, at most
PIXELS = 100_000_000  # pixels of a picture, at most; decoded they take about 800 MB
SMALLEST = 8  # pixels of a side, at least
WORKING = 2048  # pixels of the longer side after shrinking: four times the resolution that any prior uses
RANGES = (255.0, 65_535.0, 2.0**31 - 1)  # of integers wider than eight bits whose format does not say their range

RGB = Float[Tensor, "3 H W"]
Alpha = Float[Tensor, "1 H W"]


def read_pixels(path: Path) -> tuple[RGB, Alpha]:
    """Upright colors and alpha of a picture file, its longer side at most `WORKING` pixels; of a film its first frame.

    ValueError in one line for anything else than a picture of 8 x 8 to `PIXELS` pixels.
    """
    check_regular(path, BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd metadata, which does not matter here
            image = _decoded(path)
    except Exception as error:  # decoders raise anything: OSError, SyntaxError, RuntimeError, struct.error ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is no picture that can be read: {reason}") from None
    if image.mode == "F":
        rgb = torch.from_numpy(np.array(image))[None].repeat(3, 1, 1).clamp(0, 1)
        return rgb, torch.ones_like(rgb[:1])
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return pixels[:3], pixels[3:]


def _decoded(path: Path) -> Any:
    """The shrunken picture as RGBA of eight bits, or as F (gray values in [0, 1])."""
    from PIL import Image, ImageOps

    Image.init()
    with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as file:
        width, height = file.size
        if width * height > PIXELS:
            raise ValueError(f"it has {width} x {height} pixels, at most {PIXELS:,} are read; make it smaller first")
        if min(width, height) < SMALLEST:
            raise ValueError(f"it has {width} x {height} pixels, at least {SMALLEST} x {SMALLEST} are needed")
        file.draft(None, (2 * WORKING, 2 * WORKING))  # JPEG is decoded at a fraction of its size
        file.load()
        ImageOps.exif_transpose(file, in_place=True)
        image: Any = file
        if image.mode.startswith(("I", "F")):
            image = Image.fromarray(_gray(np.asarray(image), image.mode))
        elif image.mode not in ("L", "RGB", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
        factor = WORKING / max(image.size)
        if factor < 1:
            size = (max(1, round(factor * image.width)), max(1, round(factor * image.height)))
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return image if image.mode == "F" else image.convert("RGBA")


def _gray(values: np.ndarray, mode: str) -> np.ndarray:
    """Values of more than eight bits as floats in [0, 1]; ValueError where one is not finite.

    I;16 has 16 bits. Of I and F no format states the range: for floats it is [0, 1], and for what exceeds this the
    smallest range of integers that holds all values.
    """
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite numbers")
    ranges = (65_535.0,) if mode.startswith("I;16") else RANGES if mode == "I" else (1.0, *RANGES)
    highest = float(values.max())
    full = next((each for each in ranges if highest <= each), highest)
    return values / np.float32(full)
