"""The notebooks of examples/, which are Python files in percent format: as .ipynb, and as pages of the site.

python -m tools.notebooks build/notebooks
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import jupytext
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PICTURES = ROOT / "docs" / "images"
NOTEBOOKS = ("tutorial", "own_renderer", "pipeline_in_memory", "sweep_and_compare")
INSTALL = """\
The package is installed by the next cell where it is missing. In Colab, first upload its wheel (`make package` writes
it to `dist/`): the folder at the left, then the upload button.
"""
INSTALLER = '%pip install --quiet --find-links . "scoredistill{extra}"'
EXTRAS = {"pipeline_in_memory": "[sd]"}
SOURCE = "Run it with `python examples/{name}.py`, or as a notebook, which `make notebooks` writes."
PICTURE = re.compile(r"`(\w+)\.png`\.")


def cells(name: str) -> Any:
    """The notebook of an example: all cells but the file's own docstring."""
    notebook = jupytext.read(EXAMPLES / f"{name}.py", fmt="py:percent")
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith('"""')]
    return notebook


def notebook(name: str) -> Any:
    """A notebook that needs nothing but the package: it installs it, and writes the modules beside the example."""
    found = cells(name)
    code = "\n".join(cell.source for cell in found.cells)
    beside = [path for path in sorted(EXAMPLES.glob("*.py")) if re.search(rf"^from {path.stem} import", code, re.M)]
    title, *rest = found.cells
    installer = new_code_cell(INSTALLER.format(extra=EXTRAS.get(name, "")), metadata={"tags": ["install"]})
    first = [title, new_markdown_cell(INSTALL), installer]
    files = [new_code_cell(f"%%writefile {path.name}\n{path.read_text()}") for path in beside]
    found.cells = [*first, *files, *rest]
    return found


def write_notebooks(folder: Path) -> list[Path]:
    """All notebooks as .ipynb."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.ipynb" for name in NOTEBOOKS]
    for path in paths:
        jupytext.write(notebook(path.stem), path)
    return paths


def write_pages(folder: Path) -> None:
    """All notebooks as pages of the site, with the pictures that are in docs/images/NAME."""
    folder.mkdir(exist_ok=True)
    for name in NOTEBOOKS:
        title, *rest = "\n\n".join(_text(name, cell) for cell in cells(name).cells).split("\n")
        (folder / f"{name}.md").write_text("\n".join([title, "", SOURCE.format(name=name), *rest, ""]))


def _text(name: str, cell: Any) -> str:
    """A cell in Markdown; where it describes a picture, after that picture."""
    if cell.cell_type == "code":
        return f"```python\n{cell.source}\n```"
    found = PICTURE.match(cell.source)
    path = PICTURES / name / f"{found[1]}.webp" if found else None
    return f"![{path.stem}](../images/{name}/{path.name})\n\n{cell.source}" if path else cell.source


if __name__ == "__main__":
    for path in write_notebooks(Path(sys.argv[1])):
        print(path)
