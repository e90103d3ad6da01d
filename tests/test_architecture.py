"""The package keeps its shape: import floors, sizes of files and functions, names, a light import, no pickle."""

from __future__ import annotations

import ast
import functools
import io
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "scoredistill"
FILES = sorted(ROOT.rglob("*.py"))
FLOORS = [
    {"schedule", "camera", "views", "config", "files", "own", "randomness", "kernels", "startup"},
    {"contracts", "render"},
    {"methods", "priors", "scenes", "evaluate", "export", "toybox", "optimize"},
    {"recipes"},
    {"runs"},
    {"sweep", "studies", "viewer", "compare"},
    {"cli"},
    {"__init__", "__main__"},
]
UNSAFE = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}  # modules that execute what they read
UNSAFE |= {"socket", "socketserver", "http", "asyncio", "urllib", "requests"}  # and the network: only through the hub
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
PICKLED = "evaluate/networks.py"  # reads published weights that exist as pickles only, by torch's weights-only reader
WINDOWS = {("priors", "toybox"), ("evaluate", "toybox")}  # neighbors of which the first may read the second
BANNED = {"told", "said", "kept", "looks", "sighted", "hears"}  # words of identifiers: STYLE.md has better ones
BAD_FILES = {"utils", "helpers", "base", "common", "manager", "misc", "guidance_utils", "system"}
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


def room(path: Path) -> str:
    """The room of a file: its top folder, or its own name."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if name in rooms)


def imports(tree: ast.AST, *, top_level: bool = False) -> Iterator[str]:
    nodes = ast.iter_child_nodes(tree) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The tree of a file, which nobody may change."""
    return ast.parse(path.read_text())


def module_name(path: Path) -> str:
    parts = ["scoredistill", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported_modules(path: Path) -> set[str]:
    """The package's own modules that a file imports, inside functions too, but for those under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found = set()
    for name in imports(tree):
        parent = name.rpartition(".")[0]
        found.add(name if name in MODULES else parent)
    return {name for name in found if name in MODULES}


def test_few_files_at_the_top() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    for name in imports(parsed(path)):
        parts = name.split(".")
        if parts[0] != "scoredistill" or len(parts) < 3 or parts[1] == here:
            continue
        there = parts[1]
        if floor(here) == floor(there) and floor(here) in (2, 5):
            assert (here, there) in WINDOWS, f"{here} imports its neighbor {name}"
        assert floor(here) >= floor(there), f"{here} imports {name} from a floor above"


def test_there_is_no_circle() -> None:
    """Neither between rooms nor between modules, the kernels and their twins in warp included."""
    graph = {name: imported_modules(path) - {name} for name, path in MODULES.items() if path.name != "__init__.py"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done or name not in graph:
            return
        for other in sorted(graph[name]):
            visit(other, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_imported_when_they_are_needed(path: Path) -> None:
    allowed = {"tyro", "rich"} if room(path) == "cli" else set()
    found = {name.split(".")[0] for name in imports(parsed(path), top_level=True)} & HEAVY
    assert found <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 65, f"{node.name} is too long"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_and_a_module_docstring(path: Path) -> None:
    text = path.read_text()
    assert not {name.split(".")[0] for name in imports(parsed(path))} & UNSAFE
    assert "torch.save" not in text
    loads = [
        call for call in ast.walk(parsed(path)) if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.load"
    ]
    assert all("weights_only=True" in ast.unparse(call) for call in loads)
    assert not loads or path.relative_to(ROOT).as_posix() == PICKLED
    assert path.stem not in BAD_FILES
    if text.strip():
        assert ast.get_docstring(parsed(path)), "a module opens with a sentence"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_becomes_code(path: Path) -> None:
    """Nothing is evaluated, unpickled or given to a shell; code of published models is not executed."""
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    assert not {ast.unparse(call.func) for call in calls} & UNSAFE_CALLS
    given = {(keyword.arg, ast.unparse(keyword.value)) for call in calls for keyword in call.keywords}
    assert not {"shell", "trust_remote_code", "allow_pickle", "custom_pipeline"} & {name for name, _ in given}
    assert ("use_safetensors", "False") not in given


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_are_the_fields_own_terms(path: Path) -> None:
    """No word that STYLE.md replaces is part of an identifier."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    found = {name for name in names if BANNED & set(re.findall(r"[a-z]+", name.lower()))}
    assert not found


def test_only_the_command_line_prints_or_exits() -> None:
    for path in FILES:
        if room(path) not in ("cli", "__main__"):
            calls = [node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
            names = {ast.unparse(call) for call in calls}
            assert not names & {"print", "sys.exit", "exit"}, path


WRITES = {"write_bytes", "write_text", "save_file", "np.save", "np.savez", "shutil.copyfile", "shutil.copy"}


def writes(node: ast.AST, *, safe: bool = False) -> Iterator[ast.Call]:
    """The calls that write a file by its name outside a block `with replacing(...)`."""
    for child in ast.iter_child_nodes(node):
        inside = safe or "replacing(" in "".join(map(ast.unparse, getattr(child, "items", ())))
        if isinstance(child, ast.Call) and not inside:
            name = ast.unparse(child.func)
            given = {ast.unparse(each) for each in (*child.args, *(keyword.value for keyword in child.keywords))}
            modes = {mode for mode in given if re.fullmatch("'[rbt]*[wxa+][bt+]*'", mode)}
            opened = name.rpartition(".")[2] == "open" and modes and "os.devnull" not in given
            if (opened or WRITES & {name, name.rpartition(".")[2]}) and "replacing(" not in name:
                yield child
        yield from writes(child, safe=inside)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_written_atomically(path: Path) -> None:
    """Only `files.py` opens files for writing: all others call `write_safely` or `append`, or use `replacing`."""
    if path != ROOT / "files.py":
        assert not [ast.unparse(call) for call in writes(parsed(path))]


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
    ("before", "given", "expected"),
    [("", {}, "20000"), ("", {"GOMP_SPINCOUNT": "7"}, "7"), ("", {"OMP_WAIT_POLICY": "active"}, ""), ("torch", {}, "")],
)
def test_openmp_spins_briefly_unless_the_user_set_it(before: str, given: dict[str, str], expected: str) -> None:
    """The variable is set before torch reads it, unless the user set it or torch was imported first."""
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
    others = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=others | given)
    assert shown.stdout == expected + "\n"


def test_the_face_shows_what_it_lists() -> None:
    import scoredistill

    assert len(scoredistill.__all__) <= 64  # growth is to be argued
    for name in scoredistill.__all__:
        assert getattr(scoredistill, name) is not None
