"""Images and videos of renders: PNG files, contact sheets, the preview and the turntable.

N images   H W pixels   images channels first, sRGB in [0, 1]
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from scoredistill.contracts import Frame
from scoredistill.files import read_limited, replacing, write_safely

OWN_GROUP: dict[str, Any] = {
    "start_new_session": True,  # nothing on Windows, where there is this flag instead
    "creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
}
"""Keeps the Ctrl-C of a terminal, which every process of its group gets, from ending the encoder with half a film."""
PANEL = 256  # smallest side of an enlarged image in pixels; renders may have only 64
LARGEST = 1 << 26  # bytes of a PNG that is checked
END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk of a PNG
WEBP_SIDE, WEBP_QUALITY = 16383, 90
CRF = "18"  # constant rate factor of x264, considered visually lossless
COLORS = (
    "scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=colorspace=bt709:range=tv:color_primaries=bt709:color_trc=iec61966-2-1"
)
"""How colors are encoded, and the tags that say so: untagged, players guess the matrix. The pixels are sRGB."""


def png(rgb: Float[Tensor, "C H W"]) -> bytes:
    """The image as the bytes of a PNG file, a fourth channel as its opacity; values are clipped to [0, 1]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_bytes(rgb)).save(buffer, "PNG")
    return buffer.getvalue()


def webp(rgb: Float[Tensor, "3 H W"]) -> bytes:
    """The image as the bytes of a lossy WebP file, a fifth of the PNG; values are clipped to [0, 1].

    ValueError for a side of more than 16383 pixels, the most that the format allows.
    """
    from PIL import Image

    if max(rgb.shape[-2:]) > WEBP_SIDE:
        raise ValueError(f"an image must have at most {WEBP_SIDE} pixels per side, got {max(rgb.shape[-2:])}")
    buffer = io.BytesIO()
    Image.fromarray(_bytes(rgb)).save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
    return buffer.getvalue()


def write_png(rgb: Float[Tensor, "C H W"], path: Path) -> None:
    """Write the image as a PNG file, a fourth channel as its opacity."""
    write_safely(path, png(rgb))


def is_whole_png(path: Path) -> bool:
    """Whether a file is a PNG whose checksums are right, that of its end included."""
    from PIL import Image

    try:
        content = read_limited(path, LARGEST)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return content.endswith(END)


def _bytes(rgb: Tensor) -> np.ndarray:
    pixels = rgb.detach().float().clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def enlarge(images: Float[Tensor, "N 3 H W"], size: int = PANEL) -> Float[Tensor, "N 3 h w"]:
    """Enlarge (bicubic) to at least `size` pixels per side and to even sides, as video requires; never shrink."""
    height, width = images.shape[-2:]
    factor = max(1.0, size / min(height, width))
    target = tuple(2 * math.ceil(0.5 * factor * side) for side in (height, width))
    if target == (height, width):
        return images
    return interpolate(images.detach().float(), target, mode="bicubic", align_corners=False).clamp(0, 1)


def grid(images: Float[Tensor, "N 3 H W"], *, columns: int | None = None, gap: int = 4) -> Float[Tensor, "3 h w"]:
    """A contact sheet, row by row, with `gap` white pixels between images; nearly square by default."""
    count, _, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = images.new_ones(3, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def normal_image(frame: Frame, background: Float[Tensor, "3"]) -> Float[Tensor, "B 3 H W"]:
    """Normals as colors, (n + 1) / 2 in world axes, over the background: red +x, green +y (up), blue +z (front)."""
    colors = 0.5 * (frame.normal + frame.opacity)  # normals of a frame are premultiplied by opacity
    return colors + (1 - frame.opacity) * background.to(colors)[:, None, None]


def preview(frame: Frame, background: Float[Tensor, "3"], *, size: int = PANEL) -> Float[Tensor, "3 h w"]:
    """The views of `frame` in one row, their normals below."""
    images = torch.cat([frame.rgb, normal_image(frame, background)])
    return grid(enlarge(images, size), columns=len(frame.rgb))


def write_turntable(
    frames: Iterable[Frame], path: Path, *, background: Float[Tensor, "3"], fps: int = 30, size: int = PANEL
) -> None:
    """Write an MP4 (H.264, yuv420p) of rgb | normal | opacity, one image for each view of each frame.

    `frames` is consumed lazily, so that views can be rendered in batches. Errors as in `write_video`.
    """
    pictures = (picture for frame in frames for picture in _panels(frame, background, size))
    write_video(pictures, path, fps=fps)


def _panels(frame: Frame, background: Tensor, size: int) -> Float[Tensor, "B 3 h w"]:
    panels = [frame.rgb, normal_image(frame, background), frame.opacity.expand_as(frame.rgb)]
    return torch.cat([enlarge(panel, size) for panel in panels], -1)


def write_video(pictures: Iterable[Float[Tensor, "3 H W"]], path: Path, *, fps: int = 30) -> None:
    """Stream images of one even size to an MP4 file (H.264, yuv420p in BT.709, playable while it loads).

    ValueError if there are no images; OSError with the first error of ffmpeg if the file cannot be written.
    """
    with replacing(path) as part:
        stream = iter(pictures)
        first = next(stream, None)
        if first is None:
            raise ValueError(f"cannot write the video {path}: there are no frames; at least one is needed")
        height, width = first.shape[-2:]
        _encode(itertools.chain([first], stream), _command(width, height, fps, part), path)


def _encode(pictures: Iterable[Float[Tensor, "3 H W"]], command: list[str], path: Path) -> None:
    """Run ffmpeg on the images; OSError that names `path` with its first error."""
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, **OWN_GROUP) as encoder:
            assert encoder.stdin is not None
            with (
                contextlib.suppress(BrokenPipeError),
                encoder.stdin as pipe,
            ):  # a broken pipe is reported by the errors of ffmpeg
                for picture in pictures:
                    pipe.write(_bytes(picture).tobytes())
        if encoder.returncode != 0:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise OSError(f"cannot write the video {path}: ffmpeg stopped ({lines[0]})")


def _command(width: int, height: int, fps: int, path: Path) -> list[str]:
    import imageio_ffmpeg

    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    codec = ["-vf", COLORS, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", CRF, "-preset", "fast"]
    target = ["-movflags", "+faststart", "-f", "mp4", str(path)]
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, *codec, *target]
