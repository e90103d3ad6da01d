"""Code of one's own by name: `mine.py:Mine` or `package.module:Mine`, for methods, priors, scenes and metrics."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from scoredistill.files import read_limited

LARGEST = 1 << 24  # bytes of a file of code

_modules: set[str] = set()  # names of all modules that were loaded here
_NAME = re.compile(r"(?P<place>.+):(?P<attribute>[A-Za-z_]\w*)")


def is_own(name: str) -> bool:
    """Whether a name has the form FILE.py:NAME or MODULE:NAME."""
    found = _NAME.fullmatch(name)
    return found is not None and (found["place"].endswith(".py") or re.fullmatch(r"[\w.]+", found["place"]) is not None)


def full_name(name: str) -> str:
    """The name as a run's folder holds it: a file by its absolute path."""
    place, _, attribute = name.rpartition(":")
    return f"{Path(place).absolute()}:{attribute}" if place.endswith(".py") else name


def code_files(name: str) -> list[Path]:
    """The file that defines `FILE.py:NAME` or `MODULE:NAME`; none for a module without a file of its own."""
    place = name.rpartition(":")[0]
    if place.endswith(".py"):
        return [Path(place)]
    file = getattr(_from_module(place), "__file__", None)
    return [] if file is None else [Path(file)]


def load_own(name: str) -> Any:
    """The object that `FILE.py:NAME` or `MODULE:NAME` stands for; ValueError where it cannot be had.

    A file is executed once for its content, so that two names from one file share their classes.
    """
    place, _, attribute = name.rpartition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    _modules.add(module.__name__)
    if not hasattr(module, attribute):
        raise ValueError(f"{place} defines no {attribute!r}")
    return getattr(module, attribute)


def raised_in(error: BaseException) -> str:
    """The place in code of one's own, "FILE, line N", where an error was raised or went through last; or empty."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") in _modules:
            found = f"{frame.f_code.co_filename}, line {line}"
    return found


def _from_file(path: Path) -> Any:
    path = path.absolute()
    digest = hashlib.sha256(str(path).encode() + read_limited(path, LARGEST)).hexdigest()[:16]
    name = f"scoredistill_own_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is executed
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the file raises
        del sys.modules[name]
        raise ValueError(f"{path} cannot be loaded: {_described(error)}") from error
    return module


def _from_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the module raises
        raise ValueError(f"module {name} cannot be imported: {_described(error)}") from error


def _described(error: BaseException) -> str:
    """The kind of an error, and its message where it has one."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")
