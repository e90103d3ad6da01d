"""Checkpoints that survive a crash at any moment: one safetensors file, its header holds the rest as JSON; no pickle.

A checkpoint of step 25 is `000025.safetensors`. Its header also holds the SHA-256 of everything in it, so a damaged
one is noticed, and a file that this module has not written is left alone. The newest two remain.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from scoredistill.files import check_regular, read_limited, write_safely

FORMAT = "scoredistill-3"
"""To be raised when an older file could not be read right any more."""
RETAINED = 2  # the newest, and one to fall back to
LARGEST = 1 << 33  # bytes of a checkpoint that is read: ten times that of a million splats

log = logging.getLogger(__name__)


def write(folder: Path, checkpoint: dict[str, Any]) -> None:
    """Add a `Step.checkpoint()` to `folder`, then drop all but the newest `RETAINED`.

    FloatingPointError, with the older ones untouched, if a tensor is not finite; OSError if the disk refuses.
    """
    tensors: dict[str, Tensor] = {}
    tree = _flatten(checkpoint, "", tensors)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise FloatingPointError(f"the state {name!r} is not finite (NaN or infinity)")
    about = {"format": FORMAT, "tree": json.dumps(tree)}
    folder.mkdir(parents=True, exist_ok=True)
    content = save(tensors, about | {"sha256": _digest(tensors, about)})
    write_safely(folder / f"{checkpoint['index']:06d}.safetensors", content)
    _drop_old(folder, checkpoint["index"])


def indices(folder: Path) -> list[int]:
    """The steps of the checkpoints, in order; whether they are whole is not examined."""
    return sorted(map(_index, _numbered(folder)))


def read(folder: Path, index: int | None = None) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, on the CPU, or None; logs one warning if a newer one is damaged.

    With `index` only the one of that step. ValueError if the only ones are damaged or of another format.
    """
    damaged: list[str] = []
    for path in sorted(_numbered(folder), key=_index, reverse=True):
        if index not in (None, _index(path)):
            continue
        try:
            found = _read(path)
        except _DamagedError as error:
            damaged.append(f"{path.stem} ({error})")
            continue
        if damaged:
            names = ", ".join(damaged)
            log.warning("checkpoint %s in %s is damaged; continuing from %s", names, folder, path.stem)
        return found
    if damaged:
        raise ValueError(f"no whole checkpoint in {folder}: {', '.join(damaged)}; start the run anew")
    return None


class _DamagedError(Exception):
    """A file that is not what was written."""


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_limited(path, LARGEST)
        about = _about(content)
        tensors = load(content)
    except (ValueError, OSError, SafetensorError, RecursionError) as error:
        raise _DamagedError("cannot be read") from error
    if about.get("format") != FORMAT:
        raise _DamagedError("of another version, or not a checkpoint")
    if about.pop("sha256", "") != _digest(tensors, about):
        raise _DamagedError("its contents have changed")
    return _unflatten(json.loads(about["tree"]), tensors)


def _about(content: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file; ValueError if it has none."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(about, dict):
        raise ValueError("no header")
    return about


def _digest(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    """SHA-256 of names, types, shapes and values of all tensors, and of the texts beside them."""
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _numbered(folder: Path) -> Iterator[Path]:
    """The files with the name of a checkpoint."""
    return (path for path in folder.glob("*.safetensors") if re.fullmatch(r"\d{6,18}", path.stem))


def _index(path: Path) -> int:
    return int(path.stem)


def _drop_old(folder: Path, newest: int) -> None:
    """Remove the older checkpoints, files with the name and the header of one; a later one is damaged, and stays."""
    past = [path for path in _numbered(folder) if _index(path) <= newest and _is_own(path)]
    for path in sorted(past, key=_index)[:-RETAINED]:
        path.unlink()


def _is_own(path: Path) -> bool:
    """Whether the header says that `write` has made this file."""
    try:
        check_regular(path, LARGEST)
        with path.open("rb") as file:
            size = file.read(8)
            claimed, held = (
                int.from_bytes(size, "little"),
                path.stat().st_size,
            )  # of a foreign file, claimed is anything
            return _about(size + file.read(min(claimed, held))).get("format") == FORMAT
    except (ValueError, OSError, RecursionError):
        return False


def _flatten(node: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON of a tree, its tensors moved to `tensors`; dictionaries as pairs: their keys may be numbers."""
    if isinstance(node, Tensor):
        tensors[path] = node.detach().cpu().contiguous()
        return {"tensor": path}
    if isinstance(node, dict):
        return {"pairs": [[key, _flatten(value, f"{path}/{key}", tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return [_flatten(value, f"{path}/{index}", tensors) for index, value in enumerate(node)]
    return node


def _unflatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_unflatten(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        return tensors[node["tensor"]]
    return {key: _unflatten(value, tensors) for key, value in node["pairs"]}
