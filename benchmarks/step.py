"""Where the seconds of a step go: each part of the loop, and the denoiser's rate beside bare convolutions'.

    GOMP_SPINCOUNT=20000 python benchmarks/step.py --methods sdi dsd sds       as the command line sets it for itself

Every run is the preset's, on real steps from the start of a run: the first ones warm up and are not counted. The rate
of convolutions is measured in the same process, at the denoiser's own widths, sizes and precision.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.timing import now, seconds
from scoredistill.evaluate.report import markdown
from scoredistill.methods.catalogue import METHODS
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.recipes.build import Parts, build
from scoredistill.recipes.presets import PRESETS

WARM_UP = 3
PARTS = (  # the loop's own calls, in their order; what is left of a step is its backward pass, Adam, a learner
    ("scene", "render", "render"),
    ("prior", "encode", "encode"),
    ("prior", "conditions", "text"),
    ("prior", "eps", "denoiser"),
    ("scene", "regularizer", "regularizers"),
    ("scene", "refine", "refine"),
)


class Clock:
    """Seconds spent inside functions, by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, on the clock."""

        def timed(*arguments: Any, **named: Any) -> Any:
            began = now()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[part] += now() - began

        return timed


def step_by_part(parts: Parts, steps: int) -> dict[str, float]:
    """Milliseconds of a step, in all and by part."""
    clock = Clock()
    for owner, name, part in PARTS:
        thing = getattr(parts, owner)
        setattr(thing, name, clock.around(part, getattr(thing, name)))
    began = 0.0
    for step in parts.optimize():
        if step.index + 1 == WARM_UP:
            clock.seconds.clear()
            began = now()
        if step.index + 1 == WARM_UP + steps:
            break
    total = now() - began
    found = {part: clock.seconds[part] for _, _, part in PARTS}
    found["backward, Adam, learner"] = total - sum(found.values())
    return {"step": 1e3 * total / steps} | {part: 1e3 * seconds / steps for part, seconds in found.items()}


@torch.no_grad()
def denoiser_rate(prior: ToyboxPrior, rows: int, repeats: int = 10) -> dict[str, float]:
    """Floating-point operations a second of the denoiser, and of its own convolutions alone, one after another."""
    x_t, t = torch.randn(rows, 3, 64, 64), torch.full((rows,), 0.5)
    text = prior.encode_text(["a purple snowman"] * rows)
    counter = FlopCounterMode(display=False)
    with counter, torch.enable_grad():  # in this thread: the counter sees no others
        prior.eps(x_t, t, text)
    whole = counter.get_total_flops() / min(seconds(lambda: prior.eps(x_t, t, text), repeats))
    operations = spent = 0.0
    for width, size, layers in zip(prior.net.shape.widths, (32, 16, 8), prior.net.shape.blocks, strict=True):
        convolution = nn.Conv2d(width, width, 3, padding=1).to(prior.dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        h = torch.randn(rows, width, size, size, dtype=prior.dtype).contiguous(memory_format=torch.channels_last)
        operations += layers * 2 * rows * width**2 * 9 * size**2
        spent += layers * min(seconds(lambda c=convolution, h=h: c(h), repeats))
    bare = operations / spent
    return {"denoiser GFLOP/s": whole / 1e9, "convolutions GFLOP/s": bare / 1e9, "ratio": whole / bare}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--scene", default="nerf")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--steps", type=int, default=30, help="counted steps, after the first few")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/step.json"))
    flags = parser.parse_args()
    rows = []
    for method in flags.methods:
        recipe = PRESETS[flags.preset]("a purple snowman", method=method, scene=flags.scene)
        found = step_by_part(build(recipe), flags.steps)
        share = {"denoiser's share": found["denoiser"] / found["step"]}
        rows.append({"method": method} | {name: round(value, 3) for name, value in (found | share).items()})
        print(rows[-1], flush=True)
    rate = denoiser_rate(ToyboxPrior.load(), rows=8)
    record = {"scene": flags.scene, "threads": torch.get_num_threads(), "milliseconds": rows, "rate of 8 rows": rate}
    flags.out.write_text(json.dumps(record | provenance(), indent=2) + "\n")
    flags.out.with_suffix(".md").write_text(markdown(rows) + "\n")
    print(markdown(rows), rate, sep="\n")


if __name__ == "__main__":
    main()
