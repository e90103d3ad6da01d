r"""Equations of docstrings, which are plain text, as LaTeX.

    latex("grad = w(t) [eps_g(x_t, t, y) - eps]")  ->  \nabla_x = w(t) [\epsilon_g(x_t, t, y) - \epsilon]

A docstring is read in an editor, so its equations have names (eps, sbar, x_t); a page shows the papers' letters.
"""

from __future__ import annotations

import re

SYMBOLS = {
    **{name: rf"\{name}" for name in ("alpha", "sigma", "kappa", "gamma", "delta", "phi", "pi", "theta")},
    **{name: rf"\operatorname{{{name}}}" for name in ("std", "mean", "clip", "Dec", "sqrt")},
    "eps": r"\epsilon",
    "lam": r"\lambda",
    "sbar": r"\bar{\sigma}",
    "abar": r"\bar{\alpha}",
    "grad": r"\nabla",
    "x0": "x_0",
}
SIGNS = {",  ": r",\quad ", "->": r"\to ", "~": r"\sim ", "N(0, I)": r"\mathcal{N}(0, I)", "%": r"\%"}
TOKEN = re.compile(r",  |->|N\(0, I\)|[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*|.")
WORD = r"\text{"


def latex(equation: str) -> str:
    """The equation in LaTeX: names that stand for symbols as these, all other words upright, with their spaces."""
    parts = [SIGNS.get(token) or symbol(token) for token in TOKEN.findall(equation)]
    for place, part in enumerate(parts):
        if part == " " and WORD in "".join(parts[max(place - 1, 0) : place + 2 : 2]):
            parts[place] = r"\ "
    return re.sub(" +", " ", "".join(parts)).strip()


def symbol(name: str) -> str:
    """One token: a letter or a symbol, each perhaps with a subscript, or a word; signs stay."""
    stem, _, below = name.partition("_")
    if name == "grad":
        return r"\nabla_x "
    if below == "hat":
        return rf"\hat{{{symbol(stem)}}}"
    known = SYMBOLS.get(stem, stem if len(stem) == 1 else "")
    if below and known:
        return f"{known}_{{{SYMBOLS.get(below, below if len(below) == 1 else rf'{WORD}{below}}}')}}}"
    return known + " " * known.startswith("\\") or WORD + name.replace("_", " ") + "}"
