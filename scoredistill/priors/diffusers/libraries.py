"""The optional libraries of published models: imported when needed, without their own log messages."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from typing import Any

INSTALL = 'pip install "scoredistill[sd]"'


def library(name: str) -> Any:
    """A library of the extra; ValueError in one line with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"published models need more libraries: {INSTALL} ({error})") from None


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """In this context the loggers of a library are silent, since a failure is reported as one error."""
    log = logging.getLogger(name)
    children = [logging.getLogger(each) for each in logging.root.manager.loggerDict if each.startswith(f"{name}.")]
    levels = {each: each.level for each in (log, *children)}
    for each in levels:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in levels.items():
            each.setLevel(level)


def one_line(error: BaseException) -> str:
    """The content of a library's error on one line; of a mismatch of tensors the first one."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    mismatch = next((line for line in lines if line.startswith("size mismatch")), None)
    return (mismatch or " ".join(lines))[:300]
