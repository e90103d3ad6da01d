"""YAML text as a tree of named values, lists, texts, numbers and truth values, within limits."""

from __future__ import annotations

import re
from typing import Any

import yaml

LONGEST = 1_000_000  # bytes of a file
DEEPEST = 32  # levels; a recipe has six
SCIENTIFIC = re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$", re.ASCII)
MOST = 5000  # values; a recipe has about 200


def read_tree(text: str, where: str) -> Any:
    """The tree that the text holds; ValueError in one line, with the line number, for what is none or too large.

    Refused beside faulty YAML: aliases and anchors (they can grow without end), tags, keys that are no text or come
    twice.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{where} is too large: {len(text):,} characters, at most {LONGEST:,} are read")
    try:
        return _PlainLoader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ValueError(f"{where} is not YAML as a recipe holds it: {error.problem}{line}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a character or a number that cannot be read
        raise ValueError(f"{where} is not YAML as a recipe holds it: {_first_line(error)}") from None


def write_tree(tree: Any) -> str:
    """The tree as text that `read_tree` reads; ValueError for one too large to be read again."""
    text = yaml.dump(tree, Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True, width=120)
    if len(text.encode()) > LONGEST:
        raise ValueError(f"the recipe is too large: {len(text.encode()):,} bytes, at most {LONGEST:,} can be read")
    return text


class _QuotingDumper(yaml.SafeDumper):
    """SafeDumper that escapes line breaks of every kind: in other styles readers take some of them for spaces."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if text.isprintable() else '"')


_QuotingDumper.add_representer(str, _represent_text)


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader for trees: every node is counted, and written out where it stands."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        self.depth, self.count = self.depth + 1, self.count + 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _refusal(f"it uses an anchor or alias, {event.anchor!r}: write its value out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _refusal(f"it uses a tag, {event.tag!r}: leave it out", event.start_mark)
        if self.depth > DEEPEST:
            raise _refusal(f"it is nested deeper than {DEEPEST} levels", event.start_mark)
        if self.count > MOST:
            raise _refusal(f"it holds more than {MOST} values", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        known = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _refusal("it has a key that is no name", key.start_mark)
            if key.value in known:
                raise _refusal(f"it names {key.value[:100]!r} twice", key.start_mark)
            known.add(key.value)
        return super().construct_mapping(node, deep)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag.rpartition(":")[2] in ("null", "bool", "int", "float")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}  # dates and merge keys are texts
for kind in (_PlainLoader, _QuotingDumper):  # 1e-3 is a number, as in YAML 1.2; in 1.1 it is a text
    kind.add_implicit_resolver("tag:yaml.org,2002:float", SCIENTIFIC, list("-+0123456789"))


def _refusal(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
