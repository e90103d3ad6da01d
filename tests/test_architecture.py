"""The house keeps its shape: import floors, sizes of files and functions, a light face, no pickle."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "scoredistill"
FILES = sorted(ROOT.rglob("*.py"))
FLOORS = [
    {"schedule", "camera", "kernels", "openmp"},
    {"contracts", "render"},
    {"methods", "priors", "scenes", "views", "optimize", "evaluate", "export", "toybox"},
    {"run", "parts", "settings", "presets", "folder", "checkpoint", "journal", "artifacts", "gallery", "doctor"}
    | {"studies", "costs", "entries", "photo", "sources", "formats", "scenery", "fidelity"},
    {"cli", "console", "flags", "__init__"},
    {"__main__"},
]
WINDOWS = {("priors", "scoredistill.toybox"), ("evaluate", "scoredistill.toybox")}  # only for `captions`
GROUND_USERS = {"scenes", "toybox", "presets", "render", "kernels", "export"}  # who may use render and kernels
HEAVY = {
    "trimesh",
    "PIL",
    "imageio_ffmpeg",
    "mcubes",
    "scipy",
    "xatlas",
    "fast_simplification",
    "tyro",
    "rich",
    "diffusers",
    "transformers",
    "viser",
}
CLI = {"cli", "console", "flags"}


def room(path: Path) -> str:
    """The room a file stands in: its top folder, or its own name."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def floor(name: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if name in rooms)


def imports(tree: ast.AST, *, top_level: bool = False) -> Iterator[str]:
    nodes = ast.iter_child_nodes(tree) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    for name in imports(parsed(path)):
        parts = name.split(".")
        if parts[0] != "scoredistill" or len(parts) < 3 or parts[1] == here:
            continue
        there = parts[1]
        if floor(here) == 2 == floor(there):
            assert (here, ".".join(parts[:2])) in WINDOWS, f"{here} imports its neighbor {name}"
            assert parts[2] == "captions", f"{here} may read toybox.captions only, not {name}"
        elif floor(here) == floor(there):
            assert floor(here) in (0, 1, 3, 4), f"{here} imports {name} on its own floor"
        else:
            assert floor(here) > floor(there), f"{here} imports {name} from a floor above"
        if there in ("render", "kernels") and floor(here) == 2:
            assert here in GROUND_USERS, f"{here} draws: only scenes, toybox and textures may import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_wait_until_they_are_needed(path: Path) -> None:
    allowed = {"tyro", "rich"} if room(path) in CLI else set()
    found = {name.split(".")[0] for name in imports(parsed(path), top_level=True)} & HEAVY
    assert found <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 65, f"{node.name} is too long"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_and_no_bad_names(path: Path) -> None:
    text = path.read_text()
    assert "pickle" not in set(imports(parsed(path)))
    assert "torch.save" not in text
    assert "torch.load(" not in text
    assert path.stem not in {"utils", "helpers", "base", "common", "manager", "misc", "guidance", "system"}
    if path.read_text().strip() and path.stem != "__main__":
        assert ast.get_docstring(parsed(path)), "a module opens with a sentence"


def test_importing_the_face_is_light() -> None:
    code = (
        "import sys, time, torch, jaxtyping; start = time.process_time(); import scoredistill; "
        f"print(time.process_time() - start, sorted({HEAVY!r} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds, heavy = shown.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 3  # CPU seconds; under one on a quiet machine


@pytest.mark.parametrize(
    ("before", "told", "expected"),
    [("", {}, "5000"), ("", {"GOMP_SPINCOUNT": "7"}, "7"), ("", {"OMP_WAIT_POLICY": "active"}, ""), ("torch", {}, "")],
)
def test_openmp_is_told_how_long_to_wait_before_torch_asks(before: str, told: dict[str, str], expected: str) -> None:
    """Unless the user said it, or torch was there first."""
    code = f"""
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT", ""))
sys.meta_path.insert(0, Watch())
{f"import {before}" if before else ""}
import scoredistill
"""
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=kept | told)
    assert shown.stdout == expected + "\n"


def test_the_face_shows_what_it_lists() -> None:
    import scoredistill

    assert len(scoredistill.__all__) <= 31  # growth is to be argued
    for name in scoredistill.__all__:
        assert getattr(scoredistill, name) is not None
