"""Splats on the page of a run: the embedded splats are the scene's, and the viewer comes only with them."""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import torch
from test_splat_files import cloud, render_rotated

from scoredistill.camera import orbit
from scoredistill.contracts import Gaussians
from scoredistill.export import splat_stage
from scoredistill.export.page import Page, render_page
from scoredistill.export.splat_stage import PACKAGE, SplatStage, packed, script
from scoredistill.render.harmonics import constant
from scoredistill.render.splat import render_splats

HOSTILE = '"><script>alert(1)</script>'


def unpacked(content: bytes) -> Gaussians:
    """Splats of a .splat file as viewers read them, in the axes of the file."""
    rows = np.frombuffer(content, np.dtype([("place", "<f4", 3), ("std", "<f4", 3), ("rgba", "u1", 4), ("q", "u1", 4)]))
    places, stds, colors, turns = (torch.from_numpy(rows[name].astype(np.float32)) for name in rows.dtype.names or ())
    return Gaussians(places, stds, turns / 128 - 1, colors[:, 3] / 255, constant(colors[:, :3] / 255)[:, None])


def scripts(html: str) -> list[str]:
    return re.findall(r'<script type="module">(.*?)</script>', html, flags=re.DOTALL)


def test_the_embedded_splats_render_as_those_of_the_scene() -> None:
    """Colors, opacities and rotations are bytes: within 1/100 in every pixel; the largest splats come first."""
    splats = cloud(200, 0)
    found = unpacked(packed(splats))
    sizes = found.opacities * found.stds.prod(-1)
    assert (sizes[1:] <= sizes[:-1] + 1e-4).all()
    torch.testing.assert_close(found.means.sum(0) * torch.tensor([-1.0, -1.0, 1.0]), splats.means.sum(0))
    for azimuth in (0.0, 1.0, 2.5):
        angles = (torch.tensor([value]) for value in (azimuth, 0.3, 2.5, 0.7))
        expected = render_splats(splats, orbit(*angles, 32)).rgb
        assert (render_rotated(found, azimuth) - expected).abs().max() < 0.02


def test_a_page_holds_the_viewer_of_splats_only_with_splats() -> None:
    splats = cloud(20, 1)
    html = render_page(Page(HOSTILE, HOSTILE, splats=SplatStage(splats, 2.8, 40.0, (1.0, 1.0, 1.0))))
    (viewer,) = scripts(html)
    digest = base64.b64encode(hashlib.sha256(viewer.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "MIT License" in viewer and "Dylan Ebert" in viewer
    rest = html.replace(viewer, "")
    assert not re.search(r"https?:|@import|<link|<iframe|<img| on\w+=|alert\(1\)</script>", rest.split("</style>")[1])
    content = re.search(r'data-splats="([^"]*)"', rest)
    assert content and base64.b64decode(content[1]) == packed(splats)
    assert "20 splats, without their view-dependent colors" in rest
    plain = render_page(Page(HOSTILE))
    assert not scripts(plain) and "<canvas" not in plain


def test_the_viewer_exports_what_the_page_uses() -> None:
    text = script()
    (exported,) = re.findall(r"const SPLAT = \{([^}]*)\};", text)
    names = set(re.findall(r"(\w+):", exported))
    assert set(re.findall(r"SPLAT\.(\w+)", PACKAGE.joinpath("splats.js").read_text("utf-8"))) <= names
    assert not re.search(r"^export |sourceMappingURL|</script", text, flags=re.MULTILINE)


def test_of_too_many_splats_the_largest_are_shown(monkeypatch) -> None:
    monkeypatch.setattr(splat_stage, "MOST", 5)
    html = splat_stage.stage(SplatStage(cloud(20, 0), 2.8, 40.0, (1.0, 1.0, 1.0)))
    assert "the 5 largest of 20 splats" in html
    assert len(packed(cloud(20, 0))) == 5 * 32
