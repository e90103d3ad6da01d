"""Flags: every number of every command states its range, and each word of a command line counts or is refused."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

import pytest

from scoredistill.cli.commands import COMMANDS
from scoredistill.cli.words import check_words, flag_value, given_flags
from scoredistill.config import Config, Range, checked, hints


def numbers(hint: Any) -> list[Any]:
    """The annotations of numbers within an annotation: those of tuples and unions, with their ranges."""
    if get_origin(hint) is Annotated:
        inner = get_args(hint)[0]
        return [hint] if inner in (int, float) else numbers(inner)
    if hint in (int, float):
        return [hint]
    return [found for each in get_args(hint) for found in numbers(each)]


FLAGS = [
    (command, name, hint)
    for command, kind in COMMANDS.items()
    if issubclass(kind, Config)
    for name, whole in hints(kind).items()
    for hint in numbers(whole)
]


def test_commands_check_their_flags() -> None:
    for name, kind in COMMANDS.items():
        assert issubclass(kind, Config) or not hints(kind), f"{name} has flags that nobody checks"
    assert {(command, name) for command, name, _ in FLAGS} > {("sample", "scale"), ("study", "seeds")}


@pytest.mark.parametrize(("command", "name", "hint"), FLAGS, ids=lambda each: each if isinstance(each, str) else "")
def test_every_number_of_a_command_states_its_range(command: str, name: str, hint: Any) -> None:
    rules = [rule for rule in getattr(hint, "__metadata__", ()) if isinstance(rule, Range)]
    assert len(rules) == 1, f"{command} --{name} states no range"
    for value in (float("nan"), float("inf"), -float("inf"), -1e300, 1e300, 2**70, -(2**70), 10**400, "", None, True):
        with pytest.raises(ValueError, match=name):
            checked(name, hint, value)


def test_flags_and_their_values() -> None:
    words = [
        "a red car",
        "--seed",
        "3",
        "--out=x y",
        "--a.no-b",
        "--negative=",
        "--lora",
        "a",
        "b",
        "--",
        "--seed",
        "4",
    ]
    check_words(words, "scoredistill generate")
    assert given_flags(words) == [
        *(("--seed", "3"), ("--out", "x y"), ("--a.no-b", None), ("--negative", ""), ("--lora", "a")),
    ]
    assert flag_value(words, "--seed") == "3"
    assert flag_value(["--seed"], "--seed") is None
    assert flag_value(["--", "--seed", "3"], "--seed") is None


@pytest.mark.parametrize(
    "words",
    [
        ["--scale", "1", "--scale", "2"],
        ["--scene.lr-grid", "1", "--scene.lr_grid=2"],
        ["--method.anneal", "--method.no-anneal"],
        ["--out", ""],
        ["--out= "],
        ["-a car"],
        ["-a"],
        ["--a car"],
        ["\udcff"],
        ["--", "\udcff"],
    ],
)
def test_what_no_command_can_mean(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"times|empty|begins with a dash|UTF-8") as error:
        check_words(words, "scoredistill generate")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("words", [["-1"], ["-1e5"], ["-inf"], ["-h"], ["-"], ["--", "-a car"], ["--negative", ""]])
def test_what_a_command_may_mean(words: list[str]) -> None:
    check_words(words, "scoredistill generate")
