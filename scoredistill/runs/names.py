"""Default names of run folders and pictures, from the prompt, the method and the seed."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

RUNS = Path("runs")
LETTERS = 40  # of the prompt in a name
BYTES = 100  # of the prompt in a name: file systems allow 255 in all
SETTINGS = 60  # characters of the settings in a name


def default_path(prompt: str, method: str, seed: int) -> Path:
    """runs/a-purple-snowman-sdi-0; a method of one's own goes by its class or function.

    Letters and digits of every script stay. Where the name lacks anything of the prompt, a digest of the prompt
    follows after "_", so that two prompts never share a name.
    """
    words = _words(prompt)
    if words.replace("-", " ") != prompt:
        words = f"{words or 'prompt'}_{hashlib.sha256(prompt.encode()).hexdigest()[:12]}"
    return RUNS / f"{words}-{_words(method.rpartition(':')[2])}-{seed}"


def trial_name(prompt: str, method: str, seed: int, settings: Mapping[str, object]) -> str:
    """a-purple-snowman-sdi-0-scene.samples-64: the name of a run in a sweep, with the settings that vary.

    Where it lacks anything of these, a digest of them follows after "_", so that different settings have different
    names.
    """
    exact = "-".join(f"{field.replace('_', '-')}-{value}" for field, value in settings.items())
    words = re.sub(r"[\s,/:]+", "-", exact.lower())
    short = re.sub(r"[^a-z0-9.-]+", "", words)[:SETTINGS].rstrip("-.")
    if short != exact:
        short = f"{short}_{hashlib.sha256(exact.encode()).hexdigest()[:12]}"
    name = default_path(prompt, method, seed).name
    return f"{name}-{short}" if settings else name


def unused_path(path: Path) -> Path:
    """`path`, or the first of NAME-2, NAME-3, ... that does not exist."""
    number, free = 1, path
    while free.exists() or free.is_symlink():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _words(text: str) -> str:
    """The letters and digits of a text in lower case with dashes between the words, within LETTERS and BYTES."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    letters = "".join(each if _belongs(each) else "-" for each in plain)
    short = re.sub("-+", "-", letters).strip("-")[:LETTERS]
    return short.encode()[:BYTES].decode(errors="ignore").strip("-")


def _belongs(character: str) -> bool:
    """Whether a character is a letter or digit, or a mark on one, as many scripts write vowels."""
    return character.isalnum() or unicodedata.category(character).startswith("M")
