"""The notebooks run from the first cell to the last, in small settings; the tutorial has its own file."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest
import tiny_pipelines
from nbclient import NotebookClient
from PIL import Image

from tools import notebooks


def smaller(source: str, settings: dict[str, Any]) -> str:
    """The source with other values of its settings, each of which it assigns once."""
    for name, value in settings.items():
        source, count = re.subn(rf"^{name} = \S.*?(?=  #|$)", f"{name} = {value!r}", source, flags=re.MULTILINE)
        assert count == 1, name
    return source


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> dict[str, Any]:
    """Run an example in `folder` with other settings; returns its variables."""
    script = folder / f"{name}.py"
    script.write_text(smaller((notebooks.EXAMPLES / script.name).read_text(), settings))
    monkeypatch.chdir(folder)
    return runpy.run_path(str(script))


def test_a_renderer_of_ones_own_in_a_kernel(prior: str, tmp_path: Path) -> None:
    """As Jupyter runs it: every cell but that which installs the package."""
    notebook = notebooks.notebook("own_renderer")
    notebook.cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", ())]
    (cell,) = (cell for cell in notebook.cells if "\nSTEPS = " in cell.source)
    cell.source = smaller(cell.source, {"STEPS": 2, "SPLATS": 20, "PRIOR": prior})
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert Image.open(tmp_path / "own_renderer.png").size >= (4 * 64, 2 * 64)


def test_a_pipeline_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_pipelines.save("sd15", tmp_path / "model")
    run("pipeline_in_memory", tmp_path, monkeypatch, MODEL=str(tmp_path / "model"), STEPS=2, SIZE=16, DEVICE="cpu")
    assert Image.open(tmp_path / "pipeline_in_memory.png").size >= (2 * 16, 2 * 16)


def test_sweep_and_compare(
    prior: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run("sweep_and_compare", tmp_path, monkeypatch, PRIOR=prior, STEPS=1, SEEDS="0", METHODS="sds sdi")
    assert {row["method"] for row in found["rows"]} == {"sds", "sdi"}
    assert (tmp_path / "sweep" / "compare.html").exists()
    assert "sharpness of sdi minus that of sds" in capsys.readouterr().out


def test_notebooks_need_nothing_but_the_package(tmp_path: Path) -> None:
    """What lies beside an example in examples/ is in the notebook."""
    paths = notebooks.write_notebooks(tmp_path)
    assert {path.stem for path in paths} == set(notebooks.NOTEBOOKS)
    for path in paths:
        found = nbformat.read(path, as_version=4)
        nbformat.validate(found)
        code = "\n".join(cell.source for cell in found.cells if cell.cell_type == "code")
        assert ("%%writefile drawing.py" in code) is ("from drawing import" in code)
        assert not any(cell.source.startswith('"""') for cell in found.cells)
