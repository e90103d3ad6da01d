"""Values for flags: good, at a boundary, bad and odd ones, each with what a sound program does with it."""

from __future__ import annotations

import math
import random
import re
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from scoredistill.config import Range

Expected = Literal["refuse", "any"]
LARGE = 64  # a number in range from which on a run may take long or need more memory than there is
PLAUSIBLE = 1e6  # of numbers whose field states no range: beyond is nonsense
LONG = 3_000  # letters

NUMBERS = ("0", "-0", "1", "2", "-1", "0.5", "-0.5", ".9", "1e-300", "1e300", "-1e300", "1e400", "nan", "-nan", "inf")
NUMBERS += ("-inf", "Infinity", "NaN", "9" * 20, str(2**63), str(2**70), "-" + str(2**70), "100000", "1_000", "0x10")
NUMBERS += ("1,5", "", " ", "x", "true", "None", "１２", "٣", "½", "1e", "--", "'1'", "[1]", "\udcff", "1\n2", "🚗")
TRUTHS = ("maybe", "1", "", "True", "nan")
WORDS = (
    "",
    "-",
    "--",
    "---",
    "nan",
    "none",
    " ",
    ".",
    "..",
    "/",
    "a" * LONG,
    "一辆红色的汽车",
    "سيارة حمراء",
    "🚗",
    "é",
)
WORDS += (
    "a red 汽车",
    "\udcff",
    "a \udcff\udc80 car",
    "\x1b[31m",
    "a\tb",
    "a\nb: c",
    "a\rb",
    "\x7f",
    "\u202e",
    "%s",
    "{}",
)
WORDS += ("$HOME", "~", "*", "'", '"', "<script>", "-a red car", "--steps", "0", "1e300", "../../etc", "{0.__class__}")
GOOD_PROMPTS = ("a red car", " a red car ", "A RED CAR", "a red car\n", "a red car " * 50)
GOOD_NAMES = {
    "--method": ("sds", "sdi", "dsd", "vsd", "csd", "ism"),
    "--scene": ("image", "nerf", "splats"),
    "--preset": ("fast", "paper", "low-vram"),
    "--device": ("cpu", "auto"),
    "--prior.device": ("cpu",),
    "--format": ("glb", "obj", "ply"),
    "--cite": ("sdi", "dsd"),
}
OWN = ("nowhere.py:Mine", "no.module:X", "os:getcwd", "json:loads", "broken.py:X", "builtins:print", ":", "a:b:c")


@dataclass(frozen=True)
class Value:
    """The words of a value on the command line."""

    words: tuple[str, ...]
    expected: Expected = "any"
    costly: bool = False  # whether the right behavior may be a long run


def numbers(whole: bool, limits: Range | None, rng: random.Random) -> Value:
    """A number for a field, or something that is none."""
    ends = [limits.low, limits.high] if limits else []
    near = [end + step for end in ends if math.isfinite(end) for step in (-1, -1e-3, 0, 1e-3, 1)]
    texts = [*NUMBERS, *(str(round(value)) if whole else repr(value) for value in near for _ in range(3))]
    text = rng.choice(texts)
    value = _number(text, whole)
    if value is None:
        return Value((text,), "refuse")
    if math.isnan(value) or math.isinf(value):
        return Value((text,), "refuse")
    inside = value in limits if limits else abs(value) <= PLAUSIBLE
    plain = text.isascii() and "_" not in text
    return Value((text,), "refuse" if not inside and plain else "any", costly=abs(value) > LARGE)


def _number(text: str, whole: bool) -> float | None:
    """The number that Python reads in a text; None where it reads none."""
    if whole and re.fullmatch(r"[+-]?\d+", text.strip()) is None and "_" not in text:
        return None
    try:
        return float(int(text)) if whole else float(text)
    except (ValueError, OverflowError):
        return None


def of_hint(hint: Any, rng: random.Random, text: Callable[[], Value], limits: Range | None = None) -> Value:
    """A value for an annotation; texts come from `text`, because their name decides what they are."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        stated = [rule for rule in arguments[1:] if isinstance(rule, Range)]
        return of_hint(arguments[0], rng, text, stated[0] if stated else limits)
    if origin in (Union, types.UnionType):
        return of_hint(next(each for each in arguments if each is not type(None)), rng, text, limits)
    if origin is Literal:
        return Value((rng.choice(arguments),)) if rng.random() < 0.3 else Value((rng.choice(WORDS[3:]),), "refuse")
    if origin is tuple:
        return _several(arguments, rng, text)
    if hint is bool:
        return Value((rng.choice(TRUTHS),), "any")
    if hint in (int, float):
        return numbers(hint is int, limits, rng)
    return text()


def _several(arguments: Sequence[Any], rng: random.Random, text: Callable[[], Value]) -> Value:
    free = len(arguments) == 2 and arguments[1] is Ellipsis
    hints = [arguments[0]] * rng.randint(1, 3) if free else list(arguments)
    values = [of_hint(hint, rng, text) for hint in hints]
    refused = any(value.expected == "refuse" for value in values)
    words = tuple(word for value in values for word in value.words)
    return Value(words, "refuse" if refused else "any", any(value.costly for value in values))


def prompts(rng: random.Random) -> Value:
    """A prompt: of the Toybox world, or of words that it does not have."""
    if rng.random() < 0.2:
        return Value((rng.choice(GOOD_PROMPTS),))
    return _word(rng.choice(WORDS))


def names(flag: str, rng: random.Random) -> Value:
    """The name of one of the things that the program knows, or of none."""
    good = GOOD_NAMES.get(flag, ())
    if good and rng.random() < 0.3:
        return Value((rng.choice(good),))
    return _word(rng.choice((*WORDS, *OWN, *(name + "x" for name in good))))


def _word(text: str) -> Value:
    """A text that names nothing; an empty one counts as not given, and two dashes only end the flags."""
    return Value((text,), "refuse" if text.strip() not in ("", "--") else "any")


def inputs(folder: Path, rng: random.Random) -> Value:
    """A path to read from at which nothing is that can be read."""
    odd = (
        "missing",
        "missing/deeper",
        "folder",
        "pipe",
        "empty",
        "noise",
        "sparse",
        "dangling",
        "loop",
        "text",
        "list.json",
    )
    special = (
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "a" * LONG,
        "new\nline",
        "\udcff",
        "with space",
        "🚗.png",
        "-",
    )
    name = rng.choice((*odd, *special))
    return Value((name if name in special else str(folder / name),), "refuse")


def outputs(folder: Path, rng: random.Random, good: Sequence[str]) -> Value:
    """A path to write to in a folder of its own: never a device, which a program run as root would replace."""
    refused = ("pipe", "link-to-pipe", "folder/file/deeper", "a" * LONG)
    text = rng.choice(
        (*good, *refused, "folder", "empty", "new\nline", "with space", "🚗", "\udcff.png", "dangling", "a/b/c")
    )
    return Value((str(folder / text),), "refuse" if text in refused else "any")
