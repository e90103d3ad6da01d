"""One step of a method as an algorithm, from its own file.

A method of the master form is a choice of rules, each of which says in its docstring what it computes; any other is
short enough to be read as it is.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from scoredistill.cli.costs import OnePixel
from scoredistill.methods.distillation import Distillation, same_time
from scoredistill.methods.method import DistillationConfig, MethodConfig

MASTER = "grad = w(t) [target - reference]"
SENTENCE = re.compile(r"(.*?)(?<!\bal)(?<!\beq)(?<!\bfig)\.(?=\s|$)", re.DOTALL)
ROLE = re.compile(r"^The (target|reference)( of [^:]*:)? ")  # which the list states itself


def algorithm(kind: type[MethodConfig]) -> str:
    """One step as a quoted list (the master form), or as the lines of code that compute it (all other methods)."""
    if issubclass(kind, DistillationConfig):
        return "\n".join(f"> {line}" for line in _terms(kind))
    source = textwrap.dedent(inspect.getsource(kind.__call__)).rstrip()
    return f"One step, as in the source file:\n\n```python\n{source}\n```"


def _terms(kind: type[DistillationConfig]) -> list[str]:
    """The rules of a method of the master form, in the order in which a step uses them."""
    method = kind().prepare(OnePixel(), 0)
    assert isinstance(method, Distillation)
    steps = [("time", method.time), ("second time", method.second_time), ("noise", method.noise)]
    steps += [("target", method.target), ("reference", method.reference), ("weight", method.weight)]
    shown = [(name, described(rule)) for name, rule in steps if rule is not same_time]
    lines = [f"**{name}** {words}" for name, words in shown]
    lines.insert(len(lines) - 3, "**noisy image** `x_t = alpha x + sigma kappa`")
    clipped = "`, the bracket clipped elementwise" if method.clip else "`"
    lines.append(f"**gradient** `{MASTER}{clipped}, divided by the `reduction`")
    return [f"{place}. {line}" for place, line in enumerate(lines, 1)]


def described(rule: Callable[..., Any]) -> str:
    """The first sentence of the docstring of a rule, or of the function that made it."""
    text = inspect.getdoc(rule) or ""
    if not text:
        made_by = getattr(rule, "__qualname__", "").partition(".<locals>")[0]
        text = inspect.getdoc(vars(sys.modules[rule.__module__])[made_by]) or ""
    found = SENTENCE.match(text)
    assert found, f"{rule} has no docstring of a sentence"
    return ROLE.sub("", " ".join(found[1].split()))
