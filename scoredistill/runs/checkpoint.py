"""Checkpoints that survive a crash at any moment: tensors as safetensors, the rest as JSON, never pickle.

A checkpoint of step 25 is `000025.safetensors` and `000025.json`; the JSON is written last and holds the hash
of the tensors, so a checkpoint counts from the moment its JSON has its name. The newest two remain.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from scoredistill.files import write_safely

FORMAT = 2  # to be raised when an older file could not be read right any more
RETAINED = 2  # the newest, and one to fall back to

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
    content = save(tensors)
    about = {"format": FORMAT, "sha256": hashlib.sha256(content).hexdigest(), "tree": tree}
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{checkpoint['index']:06d}"
    write_safely(stem.with_suffix(".safetensors"), content)
    write_safely(stem.with_suffix(".json"), json.dumps(about).encode())
    _drop_old(folder)


def read(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, on the CPU, or None; logs one warning if a newer one is damaged.

    ValueError if the newest is of another format.
    """
    damaged: list[str] = []
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            found = _read(path)
        except (OSError, KeyError, json.JSONDecodeError, UnicodeDecodeError, _DamagedError):
            damaged.append(path.stem)
            continue
        if damaged:
            names = ", ".join(damaged)
            log.warning("checkpoint %s in %s is damaged; going on from %s", names, folder, path.stem)
        return found
    if damaged:
        raise ValueError(f"no whole checkpoint in {folder}: {', '.join(damaged)} damaged; start the run anew")
    return None


class _DamagedError(Exception):
    """A file that is not what was written."""


def _read(path: Path) -> dict[str, Any]:
    about = json.loads(path.read_bytes())
    if about["format"] != FORMAT:
        raise ValueError(
            f"{path} is a checkpoint of format {about['format']}, this version reads format {FORMAT}; "
            "resume the run with the version that began it"
        )
    content = path.with_suffix(".safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise _DamagedError
    return _unflatten(about["tree"], load(content))


def _drop_old(folder: Path) -> None:
    for path in sorted(folder.glob("*.json"))[:-RETAINED]:
        path.unlink()
        path.with_suffix(".safetensors").unlink(missing_ok=True)


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
