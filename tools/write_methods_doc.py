"""Write docs/methods.md: the methods from their docstrings, settings, citations and counted costs.

python -m tools.write_methods_doc
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from scoredistill.cli.costs import UPDATES, cost
from scoredistill.cli.method_help import Entry, entry, of_preset, scales, settings_table
from scoredistill.methods.catalogue import METHODS
from scoredistill.recipes.presets import PRESETS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "methods.md"
COSTS = ("calls, rows: paper", "calls, rows: fast", "rows with a negative prompt: fast")

INTRODUCTION = """\
# Methods

Written by `python -m tools.write_methods_doc` from docstrings, settings and counts; do not edit by hand.

Score distillation moves an image x, a render or an image of its own, along a gradient. Most methods have the form

    grad = w(t) [ target(x_t, t) - reference ],   x_t = alpha x + sigma kappa

| symbol | meaning |
|---|---|
| x, rgb | the image in the prior's space, and its pixels |
| t, r, s | diffusion time in [0, 1], and a second one above or below it |
| alpha, sigma, sbar | the prior's signal and noise scales at t, and sigma / alpha |
| kappa, eps | the injected noise; eps ~ N(0, I) is fresh |
| eps_g | the prior's noise prediction under guidance, eps_null + scale (eps_text - eps_null) |
| eps_c, eps_text, eps_empty, eps_negative | unguided predictions: for the text, the empty and the negative prompt |
| eps_phi | the prediction of a learner that is trained on the renders |
| D, Dec | the one-step denoised image x_t / alpha - sbar eps_g, and the decoder from the prior's space to pixels |
| y, camera | the text, with its view words; the camera pose |

`scoredistill methods` lists them in a terminal, `scoredistill methods dsd` describes one, `--cite dsd` prints its
BibTeX. Every setting below is a flag: `scoredistill image "a red car" --method dsd --method.ode-steps 20`.

In 3D the preset `paper` is the method's official configuration: scene, light, losses, cameras, resolution over the
run, batch, prompts and reduction ([recipes/official.py](../scoredistill/recipes/official.py); ISM's is for
`--scene splats`). A method's text says what differs. Everywhere Adam has betas .9 and .99, the random background is one
color for a whole batch, and samples of rays end where the transmittance falls below .1 %.
"""
COST_INTRODUCTION = f"""\
## Scales and cost

Guidance scales of the official code, and of the preset `fast`, tuned on the embedded prior. Calls are evaluations of
the denoiser that wait for each other, rows the images that they evaluate for one image distilled: counted, per update,
over a run of {UPDATES}; what is computed once is spread over them; a learner's evaluations and its training are
included. A negative prompt adds rows where it stands beside the empty prompt; CSD phases it in.
"""


def document() -> str:
    """The whole page."""
    entries = [entry(name) for name in METHODS]
    equations = [(_link(each.name), f"`{each.equation}`", f"{each.source}, *{each.paper}*") for each in entries]
    costs = [(_link(name), scales(name), scales(name, "fast"), *_costs(name)) for name in METHODS]
    parts = [
        INTRODUCTION,
        table(("method", "equation", "paper"), equations),
        COST_INTRODUCTION,
        table(("method", "scales", "scales, fast", *COSTS), costs),
        *(_section(each) for each in entries),
    ]
    return "\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _section(about: Entry) -> str:
    settings = [(f"`{key}`", *rest) for key, *rest in settings_table(about.name)]
    source = Path(inspect.getfile(METHODS[about.name])).relative_to(ROOT)
    return "\n".join(
        [
            f"## {about.name}\n",
            f"{about.title}. {about.source}, *{about.paper}*. Source: [{source}](../{source}).\n",
            f"    {about.equation}\n",
            f"{_prose(about.text)}\n",
            table(("setting", "default", *PRESETS, "meaning"), settings),
            f"```bibtex\n{about.citation}\n```\n",
        ]
    )


def _costs(name: str) -> list[str]:
    """The cells under COSTS."""
    fast, paper = of_preset(name, "fast"), of_preset(name, "paper")
    plain = [f"{each.calls:.3g}, {each.rows:.3g}" for each in (cost(paper), cost(fast))]
    return [*plain, f"{cost(fast, 'ugly').rows:.3g}"]


def _prose(text: str) -> str:
    return text.replace("*", r"\*")


def _link(name: str) -> str:
    return f"[{name}](#{name})"


if __name__ == "__main__":
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.write_text(document())
    print(page)
