"""The documents: their code runs, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scoredistill.studies import STUDIES
from tools import write_studies_doc

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
EXTENDING = ROOT / "docs" / "extending.md"


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_code_on_extending_runs() -> None:
    namespace: dict[str, object] = {}
    for block in blocks(EXTENDING):
        exec(compile(block, EXTENDING.name, "exec"), namespace)
    assert {"dds", "Pictures", "Tile"} <= namespace.keys()


def test_a_new_method_is_under_twenty_lines() -> None:
    method = next(block for block in blocks(EXTENDING) if "def dds" in block)
    assert len(method.splitlines()) < 20
    assert all(len(line) <= 120 for line in method.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}, which is not there"


def test_the_page_of_studies_says_what_their_results_say() -> None:
    page = (ROOT / "docs" / "studies.md").read_text()
    assert page == write_studies_doc.document(write_studies_doc.kept()), "run: python -m tools.write_studies_doc"
    assert set(re.findall(r"^`(\w+)`:", page, re.MULTILINE)) <= STUDIES.keys()
