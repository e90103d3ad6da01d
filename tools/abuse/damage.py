"""Damage to files, of the kinds that disks, downloads, editors and strangers do."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

SPARSE = 2**36  # bytes that a sparse file pretends to hold
Damage = Callable[[Path, random.Random], None]


def flip(path: Path, rng: random.Random, bits: int = 1) -> list[int]:
    """Flip random bits in place; returns their positions."""
    content = bytearray(path.read_bytes())
    at = [rng.randrange(8 * len(content)) for _ in range(bits if content else 0)]
    for bit in at:
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return at


def _flips(path: Path, rng: random.Random) -> None:
    flip(path, rng, rng.choice((1, 1, 2, 8, 64)))


def _truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(max(path.stat().st_size, 1))])


def _cut_header(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(16)])


def _extend(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.choice((1, 100, 10_000))))


def _zeros(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    at = rng.randrange(max(len(content), 1))
    content[at : at + 512] = bytes(len(content[at : at + 512]))
    path.write_bytes(content)


def _becomes(content: bytes) -> Damage:
    def replace(path: Path, rng: random.Random) -> None:
        path.write_bytes(content)

    return replace


def _noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(2000))


def _utf16(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes().decode("latin-1").encode("utf-16"))


def _removed(path: Path, rng: random.Random) -> None:
    path.unlink()


def _folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _dangling(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _loop(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _sparse(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(SPARSE)


def _picture(path: Path, rng: random.Random) -> None:
    from tools.abuse.world import picture

    shutil.copyfile(picture(path.parent / "another.png"), path)
    (path.parent / "another.png").unlink()


ALIASES = "\n".join(
    ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
).encode()
"""YAML of half a kilobyte that unfolds to 10^11 values."""

GENTLE: dict[str, Damage] = {"bits": _flips, "cut off": _truncate, "extended": _extend, "zeros": _zeros}
"""Damage that some files survive."""

FATAL: dict[str, Damage] = {
    "cut in its header": _cut_header,
    "emptied": _becomes(b""),
    "a JSON list": _becomes(b"[1, 2]"),
    "a number": _becomes(b"7"),
    "null": _becomes(b"null"),
    "an empty JSON object": _becomes(b"{}"),
    "odd JSON": _becomes(b'{"format": 1, "": null, "tree": [], "sha256": 5, "step": Infinity, "metadata": [[]]}'),
    "deep JSON": _becomes(b"[" * 200_000),
    "deep YAML": _becomes("\n".join(" " * n + "a:" for n in range(2_000)).encode()),
    "YAML aliases": _becomes(ALIASES),
    "YAML keys": _becomes(b"? [1, 2]\n: 3\n1: 2\nnull: x\n2020-01-01: y\n"),
    "a YAML tag": _becomes(b"!!python/object/apply:os.system ['true']\n"),
    "a large header": _becomes((2**60).to_bytes(8, "little") + b"{}"),
    "a header without end": _becomes((100).to_bytes(8, "little") + b'{"a": {"dtype": "F32", "shape": [99999999999]'),
    "noise": _noise,
    "UTF-16": _utf16,
    "a picture": _picture,
    "removed": _removed,
    "a folder": _folder,
    "a pipe": _pipe,
    "a dangling link": _dangling,
    "a link to itself": _loop,
    "sparse": _sparse,
}
"""Damage after which nothing of the file is of use."""
