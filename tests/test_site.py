"""The site: it builds without a warning, loads nothing from elsewhere, and shows equations without a script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scoredistill

ROOT = Path(__file__).parents[1]
LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]*)\"|<link\b[^>]*\bhref=\"([^\"]*)\"|url\(([^)]*)\)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as `make docs` does."""
    out = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "docs", str(out)]
    alone = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*words, "--doctree-dir", str(out / "trees")], cwd=ROOT, env=alone, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return out


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 30
    for page in pages:
        for found in LOADED.finditer(page.read_text()):
            address = next(group for group in found.groups() if group is not None)
            assert not re.match(r"['\"]?(https?:)?//", address), f"{page.name} loads {address}"


def test_equations_need_no_script(site: Path) -> None:
    page = (site / "methods" / "sdi.html").read_text()
    assert "<math" in page
    assert "MathJax" not in page


def test_the_api_page_has_every_public_name(site: Path) -> None:
    page = (site / "api.html").read_text()
    names = set(scoredistill.__all__) - {"METHODS", "__version__"}
    assert not {name for name in names if f'id="scoredistill.{name}"' not in page}
