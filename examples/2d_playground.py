"""One prompt, several methods, side by side: a row of images for each, and DDIM samples of the prior as the last.

python examples/2d_playground.py "a red car" --methods sds sdi dsd --count 4
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro

from scoredistill import Prompt, distill_image
from scoredistill.export.images import enlarge, grid, write_png
from scoredistill.recipes.recipe import PriorConfig
from scoredistill.runs.samples import samples


def playground(
    prompt: tyro.conf.Positional[str],
    *,
    methods: tuple[str, ...] = ("sds", "csd", "sdi", "dsd"),  # see: scoredistill methods
    prior: str = "toybox",  # or the path of Toybox weights (.safetensors)
    steps: int = 300,  # optimization steps of each run
    count: int = 6,  # images of each method
    seed: int = 0,
    out: Path = Path("playground.png"),
) -> None:
    """Distill a prompt into images by several methods; a few minutes on two CPU cores."""
    rows = []
    for method in methods:
        print(f"{method}: {steps} steps")
        result = distill_image(prompt, method=method, prior=prior, steps=steps, count=count, seed=seed)
        rows.append(result.scene.pixels.detach().cpu())
    ddim = samples(PriorConfig(prior), Prompt(prompt), count, scale=2.5, steps=30, seed=seed)
    write_png(grid(enlarge(torch.cat([*rows, ddim]).clamp(0, 1), 128), columns=count), out)
    print(f"{out}, row by row: {', '.join(methods)}, DDIM")


if __name__ == "__main__":
    tyro.cli(playground)
