"""Configuration values: frozen dataclasses whose fields state their type and range, checked when a value is made."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Known = TypeVar("Known")
Node = TypeVar("Node", bound="Config")


@dataclass(frozen=True)
class Range:
    """The finite numbers from `low` to `high`."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and (isinstance(value, int) or math.isfinite(value))

    def __str__(self) -> str:
        if math.isinf(self.low):
            return "finite"
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        return f"in [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class ZeroOr(Range):
    """A range and zero, which stands for no value."""

    def __contains__(self, value: float) -> bool:
        return value == 0 or super().__contains__(value)

    def __str__(self) -> str:
        return f"0 or {super().__str__()}"


@dataclass(frozen=True)
class CarriedTime:
    """Marks a diffusion time that presets carry from Stable Diffusion's noise schedule to another (see `methods`)."""


Finite = Annotated[float, Range(-1e6, 1e6)]
NonNegative = Annotated[float, Range(0, 1e6)]
Positive = Annotated[float, Range(1e-9, 1e6)]
LearningRate = Annotated[float, Range(1e-9, 10)]
Deviation = Annotated[float, Range(0, 10)]
GuidanceScale = Annotated[float, Range(0, 1000)]
InversionScale = Annotated[float, Range(-1000, 1000)]
StepsPerUnit = Annotated[float, Range(0.01, 1000)]
Fraction = Annotated[float, Range(0, 1)]
DiffusionTime = Annotated[float, Range(0, 1), CarriedTime()]
Degrees = Annotated[float, Range(-360, 360)]
HalfAngle = Annotated[float, Range(0, 180)]
Elevation = Annotated[float, Range(-89, 89)]
FieldOfView = Annotated[float, Range(1, 170)]
Count = Annotated[int, Range(1, 10_000_000)]
Natural = Annotated[int, Range(0, 10_000_000)]
Iterations = Annotated[int, Range(1, 1000)]
Batch = Annotated[int, Range(1, 10_000)]
Pixels = Annotated[int, Range(8, 4096)]
Seed = Annotated[int, Range(0, 2**42)]

LONGEST_TEXT = 10_000
"""Characters of a prompt, a name or a path, at most."""
LONGEST_SHOWN = 100
"""Characters of a value in a message, at most."""


class Config:
    """A base for frozen dataclasses: every field is checked against its annotation, then `check` relates fields.

    ValueError in one line that names the field, what was expected and what came. Whole numbers become floats where
    the field is one, so that a value read from a file equals the value that was written.
    """

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            object.__setattr__(self, name, checked(name, hint, getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Raise ValueError where fields contradict each other; overridden by configurations that have such fields."""


@cache
def hints(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, ranges included."""
    resolved = get_type_hints(kind, include_extras=True)
    return {field.name: resolved[field.name] for field in fields(kind)}


def checked(name: str, hint: Any, value: Any) -> Any:
    """`value` as the annotation `hint` wants it; ValueError names the field `name`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = checked(name, arguments[0], value)
        for rule in arguments[1:]:
            if isinstance(rule, Range) and value not in rule:
                raise ValueError(f"{name} must be {rule}, got {shown(value)}")
        return value
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise ValueError(f"unknown {name} {shown(value)}; {nearest(shown(value), arguments)}")
        return value
    if origin is tuple:
        return _checked_tuple(name, arguments, value)
    if origin in (Union, types.UnionType):
        return _checked_union(name, arguments, value)
    if hint in (int, float) and isinstance(value, bool):
        raise ValueError(f"{name} must be {hint.__name__}, got {str(value).lower()}")
    if hint is float and isinstance(value, int):
        value = _as_float(name, value)
    value = _of_kind(name, (hint,), value)
    if isinstance(value, str | PurePath):
        _check_text(name, str(value))
    return value


def shown(value: Any) -> str:
    """A value in a message: its `repr`, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no more than some thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: the known ones that are spelled most alike, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name[:LONGEST_SHOWN], names, n=3, cutoff=0.5)
    return f"nearest known: {', '.join(close)}" if close else f"known: {', '.join(names)}"


def named(what: str, name: str, known: Mapping[str, Known]) -> Known:
    """`known[name]`; ValueError with the nearest known names."""
    if name in known:
        return known[name]
    raise ValueError(f"unknown {what} {shown(name)}; {nearest(name, known)}")


def ordered(low: str, high: str, config: Config) -> None:
    """ValueError unless field `low` of the configuration is at most field `high`."""
    least, most = getattr(config, low), getattr(config, high)
    if least > most:
        raise ValueError(f"{low} must not exceed {high}, got {least:g} and {most:g}")


def to_plain(config: Config) -> dict[str, Any]:
    """A configuration as dictionaries, lists, strings, numbers and truth values, as YAML and JSON hold them."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}  # type: ignore[arg-type]


def from_plain(kind: type[Node], plain: Any, where: str) -> Node:
    """The inverse of `to_plain`; ValueError names the key under `where` that is unknown, missing or out of range."""
    if not isinstance(plain, Mapping):
        raise ValueError(f"{where} must hold named values, got {shown(plain)}")
    known = hints(kind)
    for key in plain:
        if key not in known:
            raise ValueError(f"{where} has no setting {shown(key)}; {nearest(shown(key), known)}")
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in plain:
            values[field.name] = _read(f"{where}.{field.name}", known[field.name], plain[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where} lacks {field.name}")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def missing_keys(config: Config, plain: Mapping[str, Any], where: str) -> list[str]:
    """The dotted names of all settings of a configuration that a tree read from a file does not hold."""
    found = []
    for field in fields(config):  # type: ignore[arg-type]
        name, value = f"{where}.{field.name}", getattr(config, field.name)
        if field.name not in plain:
            found.append(name)
        elif isinstance(value, Config):
            found += missing_keys(value, plain[field.name], name)
    return found


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of plain values as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        nested = isinstance(value, Mapping)
        flat |= dotted(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def _read(name: str, hint: Any, value: Any) -> Any:
    """A value of a file, nested configurations and tuples built, everything checked."""
    if isinstance(hint, type) and issubclass(hint, Config):
        return from_plain(hint, value, name)
    if get_origin(hint) is tuple and isinstance(value, list):
        value = tuple(value)
    return checked(name, hint, value)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_plain(value)  # type: ignore[arg-type]
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _checked_tuple(name: str, arguments: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise ValueError(f"{name} must be a list, got {shown(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(checked(name, arguments[0], each) for each in value)
    if len(value) != len(arguments):
        raise ValueError(f"{name} must hold {len(arguments)} values, got {len(value)}")
    return tuple(checked(name, hint, each) for hint, each in zip(arguments, value, strict=True))


def _checked_union(name: str, arguments: tuple[Any, ...], value: Any) -> Any:
    """A value that may be None as the other annotation wants it; with several others, of one of their types."""
    others = [each for each in arguments if each is not type(None)]
    if len(others) == len(arguments) or len(others) > 1:
        return _of_kind(name, tuple(get_origin(each) or each for each in arguments), value)
    return None if value is None else checked(name, others[0], value)


def _as_float(name: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be float, got {shown(value)}") from None


def _check_text(name: str, text: str) -> None:
    """ValueError for text that no file can hold: bytes that are not UTF-8, a NUL character, endless text."""
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"{name} must be at most {LONGEST_TEXT:,} characters long, got {len(text):,}")
    if "\0" in text:
        raise ValueError(f"{name} must hold no NUL character, got {shown(text)}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{name} must be UTF-8 text, got {shown(text)}")


def _of_kind(name: str, kinds: tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kinds):
        raise ValueError(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}, got {shown(value)}")
    return value
