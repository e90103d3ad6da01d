"""The words of a command line before they are parsed: what no command can mean is an error here, once for all."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

MAY_BE_EMPTY = ("--negative",)
"""Short flags whose empty value says something; a dotted flag's empties its setting."""


def check_words(arguments: Sequence[str], prog: str) -> None:
    """ValueError for bytes that are not UTF-8, text that begins with a dash, and flags given twice or left empty."""
    for word in arguments:
        if any("\ud800" <= character <= "\udfff" for character in word):
            raise ValueError(f"{word!r} is not UTF-8 text: write names and prompts in UTF-8")
    flags, _ = divided(arguments)
    for word in flags:
        if _is_text(word):
            raise ValueError(
                f"{word!r} begins with a dash and so counts as a flag: put -- before a prompt, as in: "
                f"{prog} -- {shlex.quote(word)}, or = before the value of a flag, as in --flag={shlex.quote(word)}"
            )
    given = given_flags(arguments)
    names = [_setting(name) for name, _ in given]
    for name, value in given:
        if (count := names.count(_setting(name))) > 1:
            raise ValueError(f"{name} is given {count} times: give it once, with all of its values")
        if value is not None and not value.strip() and "." not in name and name not in MAY_BE_EMPTY:
            raise ValueError(f"{name} has an empty value: give one, or leave {name} out")


def flag_value(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag that decides which other flags exist; None where it is not given, or has no value."""
    return dict(given_flags(arguments)).get(flag)


def given_flags(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """Every flag with its first value, None for one without a value."""
    found: list[tuple[str, str | None]] = []
    flags, _ = divided(arguments)
    for word, following in zip(flags, [*flags[1:], "--"], strict=False):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            found.append((name, value if equals else None if following.startswith("--") else following))
    return found


def divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before and after `--`, which ends the flags."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


def _is_text(word: str) -> bool:
    """Whether a word begins as a flag does, but is text: no flag has a space, or a single dash (but -h)."""
    if not word.startswith("-") or word in ("-", "-h"):
        return False
    if " " in word.partition("=")[0]:
        return True
    return not word.startswith("--") and not _is_number(word)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _setting(name: str) -> str:
    """The setting that a flag sets: --a.no-b and --a.b set the same one, --a-b and --a_b are one flag."""
    group, dot, last = name.removeprefix("--").replace("_", "-").rpartition(".")
    return group + dot + last.removeprefix("no-")
