"""Invocations from a grammar over every command and field, derived from the program's own commands and recipes."""

from __future__ import annotations

import random
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional

from scoredistill.cli.commands import COMMANDS
from scoredistill.cli.generate import Generate, Resume
from scoredistill.config import Config, Range, hints
from scoredistill.methods.catalogue import METHODS
from scoredistill.recipes.presets import SHORT
from scoredistill.recipes.recipe import Recipe
from scoredistill.studies import STUDIES
from tools.abuse import values, world
from tools.abuse.values import Value

MARKS = get_args(Positional[int])[1:]  # by which tyro knows an argument without a flag
READ = ("config", "image", "prompt.picture.file", "lora", "prior.lora", "metric", "start", "prior", "prior.name")
SUFFIXES = {
    "sample": ("out.png", "out.jpg", "out.txt", "out", "out.PNG"),
    "render": ("out.mp4", "out.gif", "out.png", "out"),
    "export": ("out.glb", "out.obj", "out.ply", "out.stl", "out"),
    "evaluate": ("out.json", "out.csv", "out"),
    "compare": ("out.html", "out.json", "out"),
}
"""Good and doubtful names of outputs: their suffix must decide what is in them, or be refused."""

SLOW = ("prior.compile", "dry-run")
"""Fields that may rightly make a command long."""

Pair = tuple[str, tuple[str, ...]]  # a flag's name without dashes and its values; no name: arguments without a flag


@dataclass(frozen=True)
class Field:
    """A field that the command line can set."""

    name: str  # with hyphens; empty for an argument without a flag
    hint: Any
    limits: Range | None = None  # of the recipe's field behind a short flag


@dataclass(frozen=True)
class Case:
    """An invocation, and what a sound program does with it."""

    arguments: tuple[str, ...]
    subject: str  # the command
    changes: tuple[str, ...] = ()  # all that is not plain and good about it
    expected: Literal["accept", "refuse", "any"] = "accept"
    costly: bool = False  # whether the right behavior may be a long run


class Grammar:
    """Draws invocations for a prepared folder of good and odd inputs; see `world.prepare`."""

    def __init__(self, place: world.Place, seed: int) -> None:
        self.place, self.rng = place, random.Random(seed)
        self.uses: Counter[tuple[str, str]] = Counter()  # of the fields of each command

    def case(self, folder: Path) -> Case:
        """An invocation that runs and writes in `folder`, with up to three things changed."""
        rng = self.rng
        command = rng.choice((*COMMANDS, *("generate", "image") * 3, "resume", "sample"))
        scene, method = rng.choice(world.SCENES), rng.choice(("sdi", *METHODS))
        recipe = world.recipe(scene, method, self.place.prior)
        pairs = self._good(command, scene, recipe, folder)
        known = list(_fields(command, recipe))
        changes: list[str] = []
        expected: Any = "any" if command == "study" else "accept"  # not every study can be as small as this
        costly = False
        steps = [self._set] * rng.choice((0, 1, 1, 1, 1, 2, 3))
        if rng.random() < 0.25:  # last, so that no other change undoes it
            steps.append(rng.choice((self._repeat, self._cut, self._misspell, self._stray)))
        for change in steps:
            what, value = change(command, pairs, known, folder)
            changes.append(what)
            expected = value.expected if expected != "refuse" else "refuse"
            costly |= value.costly
        words = [command, *_words(pairs, rng)]
        if rng.random() < 0.02:
            words[0], expected = rng.choice(("", "generat", "Sample", "-", "🚗", "--", "a red car", "\udcff")), "refuse"
            changes.append(f"command {words[0]!r}")
        return Case(tuple(words), command, tuple(changes), expected, costly)

    def _good(self, command: str, scene: str, recipe: Recipe, folder: Path) -> list[Pair]:
        """The flags of an invocation with which nothing is wrong."""
        place, out = self.place, ("out", (str(folder / "out"),))
        if command in ("generate", "image"):
            flat = command == "image"
            config = world.recipe("image" if flat else scene, "sdi", place.prior) if flat else recipe
            path = world.write_config(folder / "config.yaml", config)
            return [("", (world.PROMPT,)), ("config", (str(path),)), out]
        if command == "sample":
            small = [("count", ("1",)), ("steps", ("1",))]
            png = ("out", (str(folder / "out.png"),))
            return [("", (world.PROMPT,)), ("prior", (str(place.prior),)), *small, png]
        if command in ("resume", "render", "export", "evaluate"):
            flat = command in ("resume", "evaluate")
            kind = self.rng.choice(world.SCENES if flat else world.SCENES[1:])
            run = world.restore(folder / "run", place.runs[kind])
            more = {"render": [("frames", ("2",)), ("resolution", ("16",))], "export": [("resolution", ("16",))]}
            return [("", (str(run),)), *more.get(command, [])]
        if command == "compare":
            runs = [world.restore(folder / kind, place.runs[kind]) for kind in self.rng.sample(world.SCENES, 2)]
            page = ("out", (str(folder / "out.html"),))
            return [("", tuple(map(str, runs))), ("frames", ("2",)), ("resolution", ("16",)), page]
        if command == "sweep":  # planned only: its trials are runs like others
            return [("prompts", ("toybox20",)), ("methods", ("sds", "sdi")), ("seeds", ("0",)), out, ("dry-run", ())]
        if command == "study":
            size = [(name, ("1",)) for name in ("captions", "seeds", "steps")]
            return [("", (self.rng.choice(list(STUDIES)),)), *size, ("prior", (str(place.prior),)), out]
        return []

    def _set(self, command: str, pairs: list[Pair], known: list[Field], folder: Path) -> tuple[str, Value]:
        """Give a field another value, in place of its good one."""
        if not known:
            return self._stray(command, pairs, known, folder)
        field = min(
            known, key=lambda each: (self.uses[command, each.name], self.rng.random())
        )  # every field gets its turn
        self.uses[command, field.name] += 1
        value = self._value(command, field, folder)
        pairs[:] = [pair for pair in pairs if pair[0] != field.name]
        truth = plain(field.hint) is bool
        if truth and self.rng.random() < 0.5:
            value = Value(())
        if field.name in SLOW:
            value = replace(value, costly=True)
        pairs.append((field.name, value.words))
        return f"--{field.name} {' '.join(map(repr, value.words))[:80]}", value

    def _value(self, command: str, field: Field, folder: Path) -> Value:
        """A value for a field, by its annotation or, of a text, by its name."""
        return values.of_hint(field.hint, self.rng, lambda: self._text(command, field.name, folder), field.limits)

    def _text(self, command: str, name: str, folder: Path) -> Value:
        if name == "out":
            return values.outputs(folder, self.rng, SUFFIXES.get(command, ("out",)))
        if name in READ or command in ("resume", "render", "export", "evaluate", "compare"):
            return values.inputs(self.place.odd, self.rng)
        if command in ("generate", "image", "sample") and name in ("", "prompt.text", "negative", "prompt.negative"):
            value = values.prompts(self.rng)
            return value if name == "" else Value(value.words)
        value = values.names(f"--{name}" if name else command, self.rng)
        return Value(value.words) if command == "sweep" and name in ("seeds", "prompts", "set") else value

    def _repeat(self, command: str, pairs: list[Pair], known: list[Field], folder: Path) -> tuple[str, Value]:
        """Give a flag twice."""
        numbers = [field for field in known if field.name and plain(field.hint) in (int, float)]
        if not numbers:
            return self._stray(command, pairs, known, folder)
        field = self.rng.choice(numbers)
        pairs[:] = [pair for pair in pairs if pair[0] != field.name]
        pairs += [(field.name, ("1",)), (field.name, ("2",))]
        return f"--{field.name} twice", Value((), "refuse")

    def _cut(self, command: str, pairs: list[Pair], known: list[Field], folder: Path) -> tuple[str, Value]:
        """Give a flag without its value, last."""
        single = [field for field in known if field.name and plain(field.hint) in (int, float, str, Path)]
        if not single:
            return self._stray(command, pairs, known, folder)
        field = self.rng.choice(single)
        pairs[:] = [pair for pair in pairs if pair[0] != field.name]
        pairs.append((field.name, ()))
        return f"--{field.name} without a value", Value((), "refuse")

    def _misspell(self, command: str, pairs: list[Pair], known: list[Field], folder: Path) -> tuple[str, Value]:
        """Give a flag that does not exist, but almost."""
        name = self.rng.choice([field.name for field in known if field.name] or ["seed"])
        at = self.rng.randrange(len(name))
        wrong = self.rng.choice((name[:at] + "q" + name[at:], name + "x", "method.x" + name, name.upper() + "Q"))
        pairs.append((wrong, ("1",)))
        return f"--{wrong} 1", Value((), "refuse")

    def _stray(self, command: str, pairs: list[Pair], known: list[Field], folder: Path) -> tuple[str, Value]:
        """Add words that belong nowhere."""
        word = self.rng.choice(("--", "stray", "--=", "-x", "--help=1", "🚗", "-1", "--no-x", "---", "\udcff"))
        pairs.append(("", (word, "more")))
        return f"stray {word!r}", Value((), "any" if command in ("evaluate", "compare") else "refuse")


def plain(hint: Any) -> Any:
    """An annotation without its marks and without None; of a tuple, tuple."""
    if get_origin(hint) is Annotated:
        return plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return plain(next(each for each in get_args(hint) if each is not type(None)))
    return get_origin(hint) or hint


def _fields(command: str, recipe: Recipe) -> Iterator[Field]:
    """All fields that the flags of a command can set."""
    kind = COMMANDS[command]
    known = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = known[field.name]
        marked = get_origin(hint) is Annotated and any(mark in MARKS for mark in get_args(hint)[1:])
        short = SHORT.get(field.name) if issubclass(kind, Generate | Resume) else None
        name = field.name.rstrip("_").replace("_", "-")
        yield Field("" if marked else name, hint, _limits(recipe, short) if short else None)
    if issubclass(kind, Generate | Resume):
        yield from _dotted(recipe, "")


def _dotted(config: Config, prefix: str) -> Iterator[Field]:
    """The fields of a recipe's tree."""
    for name, hint in hints(type(config)).items():
        node, path = getattr(config, name), f"{prefix}{name.replace('_', '-')}"
        if isinstance(node, Config):
            yield from _dotted(node, f"{path}.")
        else:
            yield Field(path, hint)


def _limits(recipe: Recipe, path: str) -> Range | None:
    """The range that the recipe states for the field at a dotted path."""
    node: Any = recipe
    *parents, name = path.split(".")
    for parent in parents:
        node = getattr(node, parent)
    hint = hints(type(node)).get(name)
    return next((rule for rule in get_args(hint)[1:] if isinstance(rule, Range)), None) if hint else None


def _words(pairs: list[Pair], rng: random.Random) -> list[str]:
    """The words of the command line; a flag now and then as --flag=value."""
    words: list[str] = []
    for name, given in pairs:
        if name and len(given) == 1 and rng.random() < 0.2:
            words.append(f"--{name}={given[0]}")
        else:
            words += [f"--{name}", *given] if name else given
    return words
