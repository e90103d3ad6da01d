"""Write docs/methods.md: the catalogue from its docstrings, signatures, rules and counted costs.

python -m tools.write_methods_doc
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from scoredistill.costs import UPDATES, Pixel, cost
from scoredistill.entries import Entry, entry, scales, settings_table
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.distillation import Distillation
from scoredistill.parts import build_method
from scoredistill.presets import PRESETS
from scoredistill.run import Run, resolve
from scoredistill.settings import WEIGHTS, settings_of

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
TERMS = ("time", "level", "noise", "target", "reference", "weight")
PRICES = ("calls, rows: paper", "calls, rows: fast", "rows with a negative prompt: fast")
Rule = Callable[..., Any]

INTRODUCTION = """\
# Methods

Written by `python -m tools.write_methods_doc` from docstrings, signatures and counts; do not edit by hand.

Score distillation moves an image x, a render or a picture of its own, along the gradient of one form:

    grad = w(t) [ target(x_t, t) - reference ],   x_t = alpha x + sigma kappa

| letter | meaning |
|---|---|
| x, rgb | the image in the prior's space, and its pixels |
| t, r, s | diffusion time in [0, 1], and a second one above or below it |
| alpha, sigma, sbar | the prior's signal and noise scales at t, and sigma / alpha |
| kappa, eps | the noise put into x; eps ~ N(0, I) is fresh |
| eps_g | the prior's noise prediction under guidance, eps_null + scale (eps_text - eps_null), scale canonical |
| eps_c, eps_text, eps_empty, eps_negative | predictions without guidance: for the text, no text, the negative prompt |
| eps_phi | the prediction of a learner that is trained on the renders |
| D, Dec | the one-step denoised image x_t / alpha - sbar eps_g, and the way from the prior's space to pixels |
| y, camera | the text, with its view words; the pose that a learner is told |

`scoredistill methods` lists them in a terminal, `scoredistill methods dsd` tells all about one, `--cite dsd` prints its
BibTeX. On the command line every setting below is a flag: `scoredistill image "a red car" --method dsd --ode-steps 20`.
"""
TERMS_INTRODUCTION = """\
## Terms

Each rule is a function of `scoredistill/methods/`, explained [below](#rules); in brackets the rules that it is given.
The second time is where the noise is found or the reference is taken, `same` where there is none. Weights are defaults.
"""
COST_INTRODUCTION = f"""\
## Scales and cost

Guidance scales of the method itself, which are its paper's, and of the preset `fast`, tuned on the embedded prior.
Calls are evaluations of the denoiser that wait for each other, rows the images that they see for one image distilled:
counted, per update, over a run of {UPDATES}, with what is computed once spread over them; a learner's evaluations
and its training are included. A negative prompt costs more where it stands beside the empty one; CSD takes it up bit
by bit.
"""


def document() -> str:
    """The whole page."""
    entries = [entry(name) for name in METHODS]
    terms = {name: composition(name) for name in METHODS}
    equations = [(_link(told.name), f"`{told.equation}`", f"{told.source}, *{told.paper}*") for told in entries]
    compositions = [(_link(name), *(_composed(rules[term]) for term in TERMS)) for name, rules in terms.items()]
    prices = [(_link(name), scales(name), scales(name, "fast"), *_prices(name)) for name in METHODS]
    parts = [
        INTRODUCTION,
        table(("method", "equation", "paper"), equations),
        TERMS_INTRODUCTION,
        table(("method", "time", "second time", *TERMS[2:]), compositions),
        COST_INTRODUCTION,
        table(("method", "scales", "scales, fast", *PRICES), prices),
        _legend({rule for rules in terms.values() for each in rules.values() for rule in each}),
        *(_section(told) for told in entries),
    ]
    return "\n".join(parts)


def composition(name: str) -> dict[str, list[Rule]]:
    """The rules of a method at its own defaults, by term: the rule itself, and those that it was given."""
    own = {key: setting.default for key, setting in settings_of(name).items()}
    method = build_method(resolve(Run("anything", method=name, scene="image", settings=own)), Pixel())
    form = method if isinstance(method, Distillation) else next(_held(method, Distillation))
    return {term: _rules(getattr(form, term)) for term in TERMS} | {"weight": [WEIGHTS[str(own["weight"])]]}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _section(told: Entry) -> str:
    settings = [(f"`{key}`", *rest) for key, *rest in settings_table(told.name)]
    return "\n".join(
        [
            f"## {told.name}\n",
            f"{told.title}. {told.source}, *{told.paper}*.\n",
            f"    {told.equation}\n",
            f"{_prose(told.text)}\n",
            table(("setting", "default", *PRESETS, "meaning"), settings),
            f"```bibtex\n{told.citation}\n```\n",
        ]
    )


def _legend(rules: set[Rule]) -> str:
    """What each rule of the house does, by its module and name."""
    ours = {f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}": rule for rule in rules if _told(rule)}
    lines = [f"- `{name}`: {_prose(_told(ours[name]))}" for name in sorted(ours)]
    return "\n".join(["## Rules\n", *lines, ""])


def _told(rule: Rule) -> str:
    """The first paragraph of a rule's docstring; nothing for what is not ours or needs no words."""
    ours = rule.__module__.startswith("scoredistill.")
    return (inspect.getdoc(rule) or "").partition("\n\n")[0] if ours else ""


def _composed(rules: Sequence[Rule]) -> str:
    first, *given = [f"`{rule.__name__.strip('_')}`" for rule in rules]
    return f"{first} ({', '.join(given)})" if given else first


def _prices(name: str) -> list[str]:
    """The cells under PRICES."""
    fast, paper, negative = cost(name, "fast"), cost(name, "paper"), cost(name, "fast", "ugly")
    return [f"{each.calls:.3g}, {each.rows:.3g}" for each in (paper, fast)] + [f"{negative.rows:.3g}"]


def _prose(text: str) -> str:
    return text.replace("*", r"\*")


def _link(name: str) -> str:
    return f"[{name}](#{name})"


def _rules(rule: Any) -> list[Rule]:
    """The functions that a rule is made by: its own, and those of the rules that it closes over."""
    if isinstance(rule, partial):
        return _rules(rule.func)
    rule = inspect.unwrap(rule)
    own = getattr(sys.modules[rule.__module__], rule.__qualname__.partition(".")[0], None)
    given = [each for one in _held(rule, Callable) for each in _rules(one)]
    return given if own is None or isinstance(own, type) else [own, *given]


def _held(function: Any, kind: Any) -> Iterator[Any]:
    """The values of a kind that a function closes over."""
    function = inspect.unwrap(function)
    held = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
    return (value for value in held.values() if isinstance(value, kind))


if __name__ == "__main__":
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.write_text(document())
    print(page)
