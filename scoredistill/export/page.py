"""The page of a run: one offline HTML file with the mesh, the turntable, the curves and the inputs of the prior.

Everything is embedded. All text is escaped, and the content security policy of the page forbids network requests and
all scripts but the vendored viewers, which are identified by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from scoredistill.export import splat_stage
from scoredistill.export.curves import curve
from scoredistill.export.splat_stage import SplatStage
from scoredistill.files import write_safely

EXPOSURE = 0.65  # the lights of the viewer are brighter than `daylight`; with this a mesh looks like its render

PACKAGE = resources.files("scoredistill.export")

Picture = bytes | Path
"""A PNG: its bytes, or its file."""


@dataclass(frozen=True)
class Page:
    """The contents of a page; empty fields are omitted."""

    title: str  # the prompt
    subtitle: str = ""  # method, prior, scene, seed
    mesh: Path | None = None  # GLB
    splats: SplatStage | None = None
    video: Path | None = None  # MP4
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    probes: Sequence[tuple[str, Mapping[str, Picture]]] = ()  # ("step 100, t = 0.71", {"render": ..., ...})
    log: Sequence[Mapping[str, Any]] = ()  # records with "step" and numbers, each number a curve
    metrics: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""  # its equation, as text
    citation: str = ""
    command: str = ""  # the command that reproduces the run


def write_page(page: Page, path: Path) -> None:
    """Write `page` as one HTML file that opens from disk, without network access."""
    write_safely(path, render_page(page).encode())


def render_page(page: Page) -> str:
    """The page as HTML; the viewers of the mesh and of splats are included only if there are any."""
    scripts = [PACKAGE.joinpath("viewer/model-viewer.min.js").read_text("utf-8")] if page.mesh else []
    scripts += [splat_stage.script()] if page.splats else []
    sections = [
        section("", _stage(page)),
        section("Views", _figures(page.pictures), "wide"),
        section("Inputs of the prior", "".join(_probe(*probe) for probe in page.probes), "probes"),
        section("Curves", _curves(page.log), "curves"),
        section("Method", text(page.method, "equation") + text(page.citation, "citation")),
        section("Reproduce", text(page.command, "command") + details("All settings", table(page.config))),
    ]
    return assemble(page.title, page.subtitle, sections, *scripts)


def assemble(title: str, subtitle: str, sections: Sequence[str], *scripts: str) -> str:
    """An offline HTML page of the given HTML sections; only the given scripts, and workers of theirs, may run on it."""
    digests = (_encode(hashlib.sha256(script.encode()).digest()) for script in scripts)
    return Template(PACKAGE.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        sections="\n".join(filter(None, sections)),
        policy=" ".join(f"'sha256-{digest}'" for digest in digests),
        scripts="\n".join(f'<script type="module">{script}</script>' for script in scripts),
    )


def section(title: str, body: str, kind: str = "") -> str:
    """A titled section of a page, empty if there is no body. Title and body are HTML."""
    heading = f"<h2>{title}</h2>" if title else ""
    return f'<section class="{kind}">{heading}<div>{body}</div></section>' if body else ""


def _stage(page: Page) -> str:
    """The mesh and the splats in their viewers, next to the turntable and the metrics."""
    parts = []
    if page.mesh:
        parts.append(
            f'<model-viewer src="{uri("model/gltf-binary", page.mesh)}" alt="{escape(page.title)}" '
            'camera-controls auto-rotate camera-orbit="20deg 75deg auto" touch-action="pan-y" '
            f'interaction-prompt="none" exposure="{EXPOSURE}" shadow-intensity="0.7"></model-viewer>'
        )
    if page.splats:
        parts.append(splat_stage.stage(page.splats))
    beside = ""
    if page.video:
        source = uri("video/mp4", page.video)
        video = f'<video src="{source}" autoplay loop muted playsinline controls></video>'
        beside = f"<figure>{video}<figcaption>color, normal, opacity</figcaption></figure>"
    beside += table(page.metrics)
    if beside:
        parts.append(f'<div class="beside">{beside}</div>')
    return f'<div class="stage">{"".join(parts)}</div>' if parts else ""


def _figures(pictures: Mapping[str, Picture]) -> str:
    return "".join(
        f'<figure><img src="{uri("image/png", picture)}" alt="{escape(name)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, picture in pictures.items()
    )


def _probe(label: str, pictures: Mapping[str, Picture]) -> str:
    return f'<div class="probe"><p>{escape(label)}</p><div class="row">{_figures(pictures)}</div></div>'


def _curves(log: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(name for record in log for name in record if name != "step")  # in order of appearance
    return "".join(_curve(name, [record for record in log if _is_number(record.get(name))]) for name in names)


def _curve(name: str, records: Sequence[Mapping[str, Any]]) -> str:
    drawing = curve([record["step"] for record in records], [record[name] for record in records])
    caption = escape(name.replace("_", " "))
    return f"<figure><figcaption>{caption}</figcaption>{drawing}</figure>" if drawing else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def table(values: Mapping[str, Any]) -> str:
    """Names and values, one pair per row, without empty values."""
    cells = {escape(key): escape(format_value(value)) for key, value in values.items()}
    rows = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in cells.items() if value)
    return f"<table>{rows}</table>" if rows else ""


def format_value(value: object) -> str:
    """Floats with four digits, text unchanged, other values as JSON."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def text(words: str, kind: str) -> str:
    """Preformatted text."""
    return f'<pre class="{kind}">{escape(words)}</pre>' if words else ""


def details(summary: str, body: str) -> str:
    """HTML that is folded under its summary."""
    return f"<details><summary>{summary}</summary>{body}</details>" if body else ""


def uri(kind: str, content: Picture) -> str:
    """A file as a data URI, embedded in the page."""
    return f"data:{kind};base64,{_encode(content.read_bytes() if isinstance(content, Path) else content)}"


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
