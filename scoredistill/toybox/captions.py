"""The language of Toybox: descriptions of toys, their captions, tokenization and parsing.

A `Description` is the meaning; `caption` writes it in one of many wordings; `tokenize` turns words into token ids.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

import numpy as np

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.10),
    "orange": (0.98, 0.50, 0.05),
    "yellow": (0.98, 0.85, 0.10),
    "green": (0.15, 0.62, 0.18),
    "blue": (0.10, 0.28, 0.85),
    "purple": (0.50, 0.15, 0.70),
    "pink": (0.98, 0.55, 0.75),
    "brown": (0.45, 0.26, 0.12),
    "black": (0.08, 0.08, 0.09),
    "white": (0.95, 0.95, 0.95),
}
"""Albedo (linear, [0, 1]) of each color word; the albedo of a toy varies slightly around it."""

KINDS: dict[str, tuple[str, ...]] = {
    "astronaut": ("visor",),
    "bagel": ("filling",),
    "bear": ("belly",),
    "boat": ("sail",),
    "cactus": ("pot",),
    "car": ("wheels",),
    "cat": ("collar",),
    "cauldron": ("coins",),
    "cottage": ("roof",),
    "croissant": (),
    "cupcake": ("frosting",),
    "duck": ("beak",),
    "fish": ("fins",),
    "hamburger": ("lettuce",),
    "mug": ("handle",),
    "mushroom": ("stem",),
    "pancakes": ("syrup",),
    "peach": ("leaf",),
    "penguin": ("scarf",),
    "pumpkin": ("stem",),
    "rabbit": ("belly",),
    "robot": ("eyes",),
    "rocket": ("fins",),
    "snowman": ("hat", "scarf"),
    "soccer ball": ("patches",),
    "strawberry": ("leaves",),
    "sundae": ("glass",),
    "tree": ("trunk",),
    "tulip": ("leaves",),
    "turtle": ("shell",),
}
"""Each kind of toy with the parts whose color a caption may name; the color of the kind itself is that of its body."""

CANONICAL_FRONT = {
    *("astronaut", "bear", "boat", "car", "cat", "cottage", "duck"),
    *("fish", "penguin", "rabbit", "robot", "snowman", "turtle"),
}
"""The kinds with a canonical front."""

NATURAL: dict[str, str] = dict.fromkeys(KINDS, "brown") | {
    **dict.fromkeys(["astronaut", "rabbit", "snowman", "soccer ball", "robot"], "white"),
    **dict.fromkeys(["boat", "car", "mushroom", "rocket", "strawberry", "tulip", "mug"], "red"),
    **dict.fromkeys(["cactus", "tree", "turtle"], "green"),
    **dict.fromkeys(["cat", "fish", "pumpkin", "peach"], "orange"),
    **dict.fromkeys(["cauldron", "penguin"], "black"),
    **dict.fromkeys(["sundae", "cupcake"], "pink"),
    **dict.fromkeys(["duck", "cottage"], "yellow"),
}
"""The color of a toy whose caption names none ("a strawberry")."""

PLURALS = {
    "cactus": "cacti",
    "fish": "fish",
    "strawberry": "strawberries",
    "peach": "peaches",
    "pancakes": "pancakes",
    "snowman": "snowmen",
}
PLURALS |= {kind: kind + "s" for kind in KINDS if kind not in PLURALS}
COUNTABLE = tuple(kind for kind in KINDS if PLURALS[kind] != kind)
COUNTS = {2: "two", 3: "three"}
MATERIALS = ("shiny", "striped", "spotted")
SIZES = ("small", "big")
VIEWS = ("front view", "side view", "back view", "overhead view")
OPENINGS = ("", "", "", "", "a toy photo of ", "a 3d render of ", "a dslr photo of ", "a photo of ")

OVERHEAD = math.radians(55)  # radians; a camera above this elevation has an overhead view
CONTEXT = 24  # length in tokens, that of the longest caption rounded up; shorter captions are padded
PAD = 0
PUNCTUATION = r".,;:!?()\"'"
LONGEST_WORD = 100  # characters of a word in a message, at most


@dataclass(frozen=True)
class Description:
    """The meaning of a caption: "a small shiny red boat with a blue sail", a count, or one toy on top of another."""

    kind: str
    color: str  # one of COLORS, or empty for the natural color of the kind
    material: str = ""  # one of MATERIALS or empty
    size: str = ""  # one of SIZES or empty
    part: str = ""  # a part of this kind, with its color in `part_color`, or empty
    part_color: str = ""
    count: int = 1
    on: Description | None = None  # the toy below

    @property
    def composed(self) -> bool:
        """Whether there is more than one toy."""
        return self.on is not None or self.count > 1


def sample(rng: np.random.Generator) -> Description:
    """A random description: 12 % are a toy on top of another, 8 % are counts, the others are single toys."""
    form = rng.random()
    if form < 0.12:
        return _stack(rng)
    if form < 0.20:
        kind = str(rng.choice(COUNTABLE))
        return Description(kind, _color(rng), count=int(rng.integers(2, 4)))
    return _single(rng)


def _single(rng: np.random.Generator) -> Description:
    kind, color = str(rng.choice(list(KINDS))), _color(rng)
    if rng.random() < 0.1:
        return Description(kind, "")
    material = str(rng.choice(MATERIALS)) if rng.random() < 0.18 else ""
    size = str(rng.choice(SIZES)) if rng.random() < 0.15 else ""
    if not KINDS[kind] or rng.random() > 0.35:
        return Description(kind, color, material, size)
    part_color = str(rng.choice([other for other in COLORS if other != color]))
    return Description(kind, color, material, size, str(rng.choice(KINDS[kind])), part_color)


def _stack(rng: np.random.Generator) -> Description:
    above, below = rng.choice(list(KINDS), 2, replace=False)
    return Description(str(above), _color(rng), on=Description(str(below), _color(rng)))


def _color(rng: np.random.Generator) -> str:
    return str(rng.choice(list(COLORS)))


def phrase(description: Description, rng: np.random.Generator | None = None) -> str:
    """The noun phrase of a description; with `rng` the wording varies, without it is the plainest."""
    d = description
    if d.count > 1:
        return f"{COUNTS[d.count]} {d.color} {PLURALS[d.kind]}"
    words = [word for word in (d.size, d.material, d.color) if word]
    text = _with_article(" ".join([*words, d.kind]), d.kind)
    if words and rng is not None and rng.random() < 0.1:
        text = f"{_with_article(d.kind, d.kind)} that is {' and '.join(words)}"
    if d.part:
        text += " with " + _with_article(f"{d.part_color} {d.part}", d.part)
    if d.on is not None:
        text += f" on top of {phrase(d.on)}"
    return text


_WITHOUT_ARTICLE = {"pancakes", "wheels", "coins", "fins", "eyes", "patches", "leaves", "lettuce", "syrup"}


def _with_article(text: str, noun: str) -> str:
    if noun in _WITHOUT_ARTICLE:
        return text
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def caption(description: Description, rng: np.random.Generator, view: str = "") -> str:
    """A full caption: an opening, the phrase, sometimes without its article, and the view words if given."""
    text = phrase(description, rng)
    opening = str(rng.choice(OPENINGS))
    if not opening and rng.random() < 0.15:
        text = re.sub(r"^an? ", "", text)
    return with_view(opening + text, view)


def with_view(text: str, view: str) -> str:
    """Append the view words ("front view", ...) unless empty."""
    return f"{text}, {view}" if view else text


def view_words(azimuth: float, elevation: float) -> str:
    """The view words of a camera (radians): overhead above OVERHEAD, front and back within 45 degrees, else side."""
    if elevation > OVERHEAD:
        return "overhead view"
    turned = abs(math.remainder(azimuth, 2 * math.pi))
    if turned < math.pi / 4:
        return "front view"
    return "back view" if turned > 3 * math.pi / 4 else "side view"


def _words() -> list[str]:
    phrases = [*COLORS, *KINDS, *PLURALS.values(), *MATERIALS, *SIZES, *VIEWS, *COUNTS.values(), *OPENINGS]
    phrases += [part for parts in KINDS.values() for part in parts]
    phrases += ["a an with on top of that is and"]
    return sorted({word for text in phrases for word in text.split()})


VOCABULARY: tuple[str, ...] = ("<pad>", *_words())
_INDEX = {word: index for index, word in enumerate(VOCABULARY)}


def tokenize(text: str) -> list[int]:
    """Token ids of `text`, padded to CONTEXT; ValueError names an unknown word and the nearest known ones.

    Words are divided by blanks and punctuation; every other character belongs to a word.
    """
    words = [word for word in re.split(rf"[\s{PUNCTUATION}]+", text.lower()) if word]
    if not words and text.strip():
        raise ValueError(f"{text[:LONGEST_WORD]!r} holds no Toybox word")
    for word in words:
        if word not in _INDEX or word == "<pad>":
            start = word[:LONGEST_WORD]
            near = difflib.get_close_matches(start, VOCABULARY[1:], n=3, cutoff=0.5) or sorted(KINDS)[:6]
            raise ValueError(f"unknown Toybox word {start!r}; nearest known words: {', '.join(near)}")
    if len(words) > CONTEXT:
        raise ValueError(f"a Toybox caption has at most {CONTEXT} words, this one has {len(words)}: {text!r}")
    return [_INDEX[word] for word in words] + [PAD] * (CONTEXT - len(words))


def subject(text: str) -> tuple[str, str]:
    """(kind, color) of the first toy in a sentence; "" for a missing one."""
    lowered = text.lower()
    singular = {PLURALS[kind]: kind for kind in KINDS} | {kind: kind for kind in KINDS}
    found = re.search(r"\b(" + "|".join(sorted(singular, key=len, reverse=True)) + r")\b", lowered)
    if found is None:
        return "", ""
    tail = lowered[found.end() :]
    predicate = re.match(r" that is ([a-z ]+)", tail)
    scope = lowered[: found.start()] + (predicate.group(1).split(" with ")[0] if predicate else "")
    colors = re.findall(r"\b(" + "|".join(COLORS) + r")\b", scope)
    return singular[found.group(1)], colors[-1] if colors else ""
