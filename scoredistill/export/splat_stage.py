"""Splats on the page of a run: their embedded form, and the viewer that draws them (gsplat.js, see viewer/README.md).

N splats   32 bytes each, as in .splat files: x y z and three standard deviations (float32), R G B opacity, w x y z
rotations are stored as 128 + 128 q, colors and opacities as parts of 255, both as bytes; the axes are those of the PLY
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass
from html import escape
from importlib import resources

import numpy as np
import torch

from scoredistill.contracts import Gaussians
from scoredistill.export.splat_ply import rotated
from scoredistill.render.harmonics import color

MOST = 250_000  # splats on a page, 43 bytes each
AZIMUTH_DEG, ELEVATION_DEG = 20.0, 15.0  # of the first view, as that of the mesh
PACKAGE = resources.files("scoredistill.export")
EXPORTS = re.compile(r"export \{([^}]*)\};")


@dataclass(frozen=True)
class SplatStage:
    """Splats and how they are first seen: from a distance, with a field of view, before a background [3] in [0, 1]."""

    splats: Gaussians
    radius: float
    fov_deg: float
    background: tuple[float, ...]


def stage(shown: SplatStage) -> str:
    """The splats as an HTML figure that the viewer turns into a picture that can be rotated."""
    view = {
        "azimuth": math.radians(AZIMUTH_DEG),
        "elevation": math.radians(ELEVATION_DEG),
        "radius": shown.radius,
        "fov": math.radians(shown.fov_deg),
        "background": [round(255 * value) for value in shown.background],
    }
    content = base64.b64encode(packed(shown.splats)).decode("ascii")
    canvas = f'<canvas class="splats" data-view="{escape(json.dumps(view))}" data-splats="{content}"></canvas>'
    return f"<figure>{canvas}<figcaption>{_caption(shown.splats)}</figcaption></figure>"


def _caption(splats: Gaussians) -> str:
    count = len(splats.means)
    some = f"the {MOST:,} largest of {count:,} splats" if count > MOST else f"{count:,} splats"
    return some + (", without their view-dependent colors" if splats.harmonics.shape[1] > 1 else "")


@torch.no_grad()
def packed(splats: Gaussians) -> bytes:
    """The splats with the largest product of opacity and volume, at most MOST, largest first; colors of degree 0."""
    order = (splats.opacities * splats.stds.prod(-1)).argsort(descending=True, stable=True)[:MOST]
    means, rotations, harmonics = (values[order] for values in rotated(splats))
    rgb = color(harmonics[:, :1], means[None])[0]
    parts = torch.cat([rgb, splats.opacities[order, None]], 1).mul(255), rotations.mul(128).add(128)
    rows = np.empty((len(order), 32), np.uint8)
    rows[:, :24] = torch.cat([means, splats.stds[order]], 1).cpu().numpy().astype("<f4").view(np.uint8)
    rows[:, 24:] = torch.cat(parts, 1).round().clamp(0, 255).byte().cpu().numpy()
    return rows.tobytes()


def script() -> str:
    """The viewer as the text of a module, with its license, and what starts it.

    The names that the viewer exports become the object SPLAT: an inline module can be imported by no other. Without
    `self` the viewer makes its workers of data URLs: browsers refuse module workers of blob URLs on a page from disk.
    """
    names = ("viewer/gsplat.es.js", "viewer/gsplat.LICENSE", "splats.js")
    viewer, terms, start = (PACKAGE.joinpath(name).read_text("utf-8") for name in names)
    *_, exports = EXPORTS.finditer(viewer)
    members = re.sub(r"(\w+) as (\w+)", r"\2: \1", exports[1])
    body = viewer[: exports.start()]
    return f"/*\n{terms}*/\nconst self = {{}};\n{body}const SPLAT = {{{members}}};\n{{\n{start}}}\n"
