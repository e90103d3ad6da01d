"""Write docs/methods.md and docs/methods/NAME.md: the methods from their files, counted costs and studies.

python -m tools.write_methods_doc
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scoredistill.cli.costs import UPDATES, cost
from scoredistill.cli.method_help import TABLE_PRESETS, Entry, entry, in_words, of_preset, scales, settings_table
from scoredistill.methods.catalogue import METHODS
from tools.algorithms import algorithm
from tools.equations import latex
from tools.write_studies_doc import ALL, RESULTS, taken_over, verdict

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMPARED = "dsd_diversity"  # the study of all methods
PEERS = ("true renders", "DDIM", "sds")  # its rows beside a method's own
MEASURES = ("similarity", "kind right", "color right", "diversity", "sharpness", "Frechet distance")
VERT = "\\vert "
COSTS = ("calls, rows: paper", "calls, rows: fast", "rows with a negative prompt: fast")

INTRODUCTION = """\
# Methods

Written by `python -m tools.write_methods_doc` from docstrings, settings and counts; do not edit by hand.

Score distillation optimizes an image x, which may be a render of a 3D scene, with a gradient that a diffusion model
gives. Most methods have the form

```math
\\nabla_x = w(t)\\, [\\, \\text{target}(x_t, t) - \\text{reference} \\,],\\quad x_t = \\alpha x + \\sigma \\kappa
```

and differ in these terms. Each method has its own page, generated from its source file: the equation, one step as an
algorithm, all settings, the cost, and what the studies found.
"""
SYMBOLS = """\
## Symbols

| symbol | in code | meaning |
|---|---|---|
| x | `x`, `rgb` | the image in the prior's space, and its pixels |
| t, r, s | `t`, `r`, `s` | diffusion time in [0, 1]; a second time above or below it |
| α, σ, σ̄ | `alpha`, `sigma`, `sbar` | the prior's signal and noise scales at t; σ / α |
| κ, ε | `kappa`, `eps` | the noise that is added to x; ε ~ N(0, I) is sampled anew at every step |
| ε_g | `eps_g` | the prior's noise prediction under guidance, eps_null + scale (eps_text − eps_null) |
| ε_c, ε_text, ε_empty, ε_negative | `eps_c`, ... | unguided noise predictions for text, empty and negative prompt |
| ε_φ | `eps_phi` | the noise prediction of a learner, which is trained on the renders |
| D, Dec | `x0`, `decode` | the one-step denoised image x_t / α − σ̄ ε_g, and the prior's decoder to pixels |
| y, camera | | the text, including its view words; the camera pose |

`scoredistill methods` lists the methods in a terminal, `scoredistill methods dsd` describes one, `--cite dsd` prints
its BibTeX entry. Every setting is a flag: `scoredistill image "a red car" --method dsd --method.ode-steps 20`. Your own
method is one short file: [extending](extending.md#a-method).

In 3D, the preset `paper` is the method's official configuration: scene, lighting, losses, cameras, resolution over the
run, batch size, prompts and gradient reduction ([recipes/official.py](../scoredistill/recipes/official.py); that of ISM
is for `--scene splats`). Each method's page states the differences. For all methods, Adam has betas .9 and .99, a
random background has one color for the whole batch, and rays end where the transmittance falls below .1 %.
"""
COST_INTRODUCTION = f"""\
## Scales and cost

The table lists the guidance scales of the official code and those of the preset `fast`, which are tuned on the embedded
prior, and the cost of one update. *Calls* are sequential evaluations of the denoiser; *rows* are the images in their
batches, for one distilled image. Both are counted over a run of {UPDATES} updates and averaged, so the cost of what is
computed once is spread over the run. Evaluations and training of a learner are included. A negative prompt adds rows if
it is used in addition to the empty prompt; CSD phases it in over the run.
"""
STUDIES_HEAD = "## In the studies\n"
STUDIED = """\
Twelve captions with four seeds each in 2D, mean ± standard deviation over the seeds. Lower is better for the Frechet
distance, higher for all other columns but diversity ([all methods, and what the columns mean](../studies.md)). All
were optimized by Adam; on images the preset `fast` now takes plain gradient descent for SDI, DSD, CSD, NFSD, CFD, ISM,
VSD and ESD:
"""
CLAIMS = """\
Claims of the method's paper. A claim holds only if all of its parts do; [studies](../studies.md) lists the parts:
"""
CARRIED = """\
The columns `fast` and `paper` show the presets on the embedded prior, for which diffusion times are converted to equal
noise levels; published models use the official times.
"""
COMMANDS = """\
    scoredistill image "a red car" --method {name}
    scoredistill generate "a red car" --method {name}
"""
PICTURE = """\
## Picture

![DDIM and {title}: a purple snowman, an orange hamburger](../images/methods/{name}.webp)

Two captions on the embedded prior, the first seed. In each pair, DDIM is on the left and this method on the right,
after 120 steps with the preset `fast` (by `python -m tools.method_pictures`).
"""


def documents() -> dict[Path, str]:
    """Every page by its path within docs/."""
    return {Path("methods.md"): overview()} | {Path("methods", f"{name}.md"): page(name) for name in METHODS}


def overview() -> str:
    """The page of all methods."""
    entries = [entry(name) for name in METHODS]
    equations = [(_link(each.name), _in_a_cell(each.equation), f"{each.source}, *{each.paper}*") for each in entries]
    costs = [(_link(name), scales(name), scales(name, "fast"), *_costs(name)) for name in METHODS]
    parts = [
        INTRODUCTION,
        table(("method", "equation", "paper"), equations),
        SYMBOLS,
        COST_INTRODUCTION,
        table(("method", "scales", "scales, fast", *COSTS), costs),
    ]
    return "\n".join(parts)


def page(name: str) -> str:
    """The page of one method."""
    about, kind = entry(name), METHODS[name]
    settings = [(f"`{key}`", meaning, *values) for key, *values, meaning in settings_table(name)]
    source = Path(inspect.getfile(kind)).relative_to(ROOT)
    paper, fast = of_preset(name, "paper"), of_preset(name, "fast")
    return "\n".join(
        [
            f"# {_heading(about)}\n",
            "<!-- Written by `python -m tools.write_methods_doc`; do not edit by hand. -->\n",
            f"{about.source}, *{about.paper}*. Source: [{source}](../../{source}).\n",
            f"```math\n{latex(about.equation)}\n```\n",
            f"{_prose(about.text)}\n",
            COMMANDS.format(name=name),
            "## Algorithm\n",
            f"{algorithm(kind)}\n",
            "[Symbols](../methods.md#symbols). Times are rounded to the entries of the prior's schedule.\n",
            _picture(name),
            "## Settings\n",
            table(("setting", "meaning", "default", *TABLE_PRESETS), settings),
            CARRIED,
            "## Cost\n",
            f"Preset `paper`: {in_words(cost(paper), cost(paper, 'ugly'))}, scales {scales(name)}. Preset `fast`: "
            f"{in_words(cost(fast), cost(fast, 'ugly'))}, scales {scales(name, 'fast')}. "
            "[All methods](../methods.md#scales-and-cost).\n",
            _studied(name),
            "## Cite\n",
            f"```bibtex\n{about.citation}\n```\n",
        ]
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def compared() -> dict[str, Any]:
    """The study of all methods, on the prior on which it was run first."""
    return json.loads((RESULTS / f"{COMPARED}.json").read_text())


def _picture(name: str) -> str:
    """The section with the method's picture, where there is one."""
    there = (DOCS / "images" / "methods" / f"{name}.webp").exists()
    return PICTURE.format(title=_heading(entry(name)), name=name) if there else ""


def _studied(name: str) -> str:
    """The method's row of the study of all methods, and the verdicts on its own paper's claims; "" without either."""
    found = {row[""]: row for row in compared()["rows"]}
    names = dict.fromkeys([*PEERS, name]) if name in found else ()
    rows = [(each, *(_number(found[each][measure]) for measure in MEASURES)) for each in names]
    verdicts = [
        f"- {study.title} ({study.figure}), on {Path(result['settings']['prior']).name}: {verdict(result)}"
        for result in taken_over()
        if (study := ALL[result["study"]]).paper == name
    ]
    table_of_methods = [STUDIED, table(("", *MEASURES), rows)] if rows else []
    claims = [CLAIMS, *verdicts, ""] if verdicts else []
    return "\n".join([STUDIES_HEAD, *table_of_methods, *claims]) if rows or verdicts else ""


def _number(value: Any) -> str:
    return f"{value['mean']:.3f} ± {value['sd']:.3f}" if isinstance(value, dict) else f"{value:.1f}"


def _heading(about: Entry) -> str:
    """The method's acronym and its title."""
    short = METHODS[about.name].__name__
    return about.title if about.title.startswith(short) else f"{short}: {about.title}"


def _costs(name: str) -> list[str]:
    """The cells under COSTS."""
    fast, paper = of_preset(name, "fast"), of_preset(name, "paper")
    plain = [f"{each.calls:.3g}, {each.rows:.3g}" for each in (cost(paper), cost(fast))]
    return [*plain, f"{cost(fast, 'ugly').rows:.3g}"]


def _in_a_cell(equation: str) -> str:
    """The equation in LaTeX, without the sign that separates the cells of a table."""
    return f"${latex(equation).replace('|', VERT).strip()}$"


def _prose(text: str) -> str:
    return text.replace("*", r"\*")


def _link(name: str) -> str:
    return f"[{name}](methods/{name}.md)"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    for path, text in documents().items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    print(folder / "methods.md")
