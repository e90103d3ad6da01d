"""Files of weights and settings: whole, of a format that cannot run code; what a file of weights holds.

A file is damaged in few ways: it is empty or cut off, a Git LFS pointer stands in for it, or it is something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scoredistill.files import check_regular, read_limited

ENDING = ".safetensors"
PICKLED = (".ckpt", ".pt", ".pth", ".bin")
LARGEST = 2**40  # bytes of weights
LARGEST_TEXT = 2**26  # bytes of settings or a vocabulary
POINTER = b"version https://git-lfs"
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")  # first bytes of pickles, zipped or not
AGAIN = "copy or download it again"
CONTENTS = {
    r"(^|[._])lora[._]": "a LoRA file: name the model it was made for as --prior, and this file as --prior.lora",
    r"^control_model\.|^controlnet_|\.controlnet_": "a ControlNet, which is no prior by itself",
    r"^(model\.diffusion_model\.)?(double|joint|transformer)_blocks\.": "a transformer (FLUX, SD3 ...) in a single "
    "file: take its folder in the layout of diffusers",
    r"^model\.diffusion_model\.": "a checkpoint in a single file",
    r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|mid|down|up)": "an autoencoder (VAE) alone: name the folder "
    "of a whole model",
    r"^(time_embedding|down_blocks|mid_block)\.": "the network of a model in the layout of diffusers: name the model's "
    "folder, the one with model_index.json",
    r"(^|\.)text_model\.|^encoder\.block\.": "a text encoder alone: name the folder of a whole model",
    r"^(emb_params|clip_[lg])$": "an embedding of textual inversion, which is no prior by itself",
}
"""What a file holds, by a pattern that one of its tensors' names has; the first that fits."""


def is_weight_file(name: str) -> bool:
    """Whether the name of a prior is that of a file: by its ending, or because there is one."""
    path = Path(name)
    return path.suffix in (ENDING, *PICKLED) or (path.exists() and not path.is_dir())


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file for reading, its header checked against its size; ValueError in one line for other files."""
    check_content(path, LARGEST)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        with path.open("rb") as content:
            pickled = content.read(4).startswith(PICKLES)
        if pickled or path.suffix in PICKLED:
            raise ValueError(
                f"{path} is no safetensors file but a pickle, which can run code and is never opened: take a copy in "
                "safetensors, or convert it where you trust it"
            ) from None
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise ValueError(f"{path} is no safetensors file, or is damaged or cut off ({reason}): {AGAIN}") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file by name; ValueError as `opened`."""
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def check_content(path: Path, limit: int = LARGEST_TEXT) -> None:
    """ValueError in one line unless a regular file of at most `limit` bytes is there, neither empty nor a pointer."""
    check_regular(path, limit)
    with path.open("rb") as file:
        start = file.read(len(POINTER))
    if not start:
        raise ValueError(f"{path} is empty: {AGAIN}")
    if start == POINTER:
        raise ValueError(f"{path} is a Git LFS pointer, not the file itself: run git lfs pull, or download it")


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; ValueError in one line for anything else."""
    check_content(path)
    try:
        found = json.loads(read_limited(path, LARGEST_TEXT))
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no text
        raise ValueError(f"{path} is damaged or cut off ({error}): {AGAIN}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, expected an object {{...}}: {AGAIN}")
    return found


def content(names: Iterable[str]) -> str:
    """What a file with tensors of these names holds, "" if it is unknown."""
    names = list(names)
    return next((words for sign, words in CONTENTS.items() if any(re.search(sign, name) for name in names)), "")


def check_finite(source: Any, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """ValueError that names `source` and the first tensor whose sum is not finite: NaN, infinity, or absurd values."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and not bool(tensor.sum(dtype=torch.float32).isfinite()):
            raise ValueError(f"{source} holds weights that are not finite, in {name}: {AGAIN}")
