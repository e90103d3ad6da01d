"""The site of these documents: `make docs` writes it to build/site, which opens offline.

Markdown is read as on GitHub (MyST); equations become MathML, which browsers draw without a script; links to files
outside docs/ lead to copies of them; a link that leads nowhere is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT)]

from scoredistill import __version__  # noqa: E402 (of this checkout)
from tools.notebooks import NOTEBOOKS, write_pages  # noqa: E402

project = "scoredistill"
author = project_copyright = "scoredistill contributors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["images", "static"]

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = {"math"}
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"scoredistill {__version__}"
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"sidebar_hide_name": False, "footer_icons": []}

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]*)(#[^)\s]*)?\)")


def link_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to files outside docs/ become links to copies of them or to their pages, links to folders plain text."""
    folder = (HERE / page).parent

    def outside(link: re.Match[str]) -> str:
        text, target = link[1], (folder / link[2]).resolve()
        if target.is_relative_to(HERE):
            return link[0]
        if target.parent.name == "examples" and target.stem in NOTEBOOKS:
            return f"[{text}](/notebooks/{target.stem}.md)"
        return f"[{text}](path:{link[2]})" if target.is_file() else text

    if page == "changelog":
        source[0] = (ROOT / "CHANGELOG.md").read_text().replace("](", "](../")
    source[0] = LINK.sub(outside, source[0])


def as_rst(app: Sphinx, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: their indented lines are shown as they are, and no sign is markup."""
    shown: list[str] = []
    for line in lines:
        indented, was = line.startswith("    "), bool(shown) and shown[-1].startswith("    ")
        if indented and not was:
            shown += ["", "::", ""]
        elif was and not indented:
            shown.append("")
        shown.append(line if indented else escaped(line))
    lines[:] = shown


def escaped(line: str) -> str:
    """One line of prose in reStructuredText."""
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(f"`{part}`" if part[:1] == "`" else re.sub(r"([*|_\\])", r"\\\1", part) for part in parts)


def draw(self: Any, node: nodes.math | nodes.math_block) -> None:
    """An equation as MathML."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", inline_renderers=(draw, None), block_renderers=(draw, None))
    app.connect("source-read", link_outside)
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("builder-inited", lambda app: write_pages(HERE / "notebooks"))
