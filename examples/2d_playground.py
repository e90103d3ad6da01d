"""One sentence, several methods, side by side: a row of images for each, and DDIM's own samples as the last.

python examples/2d_playground.py "a red car" --methods sds sdi dsd --count 4
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import tyro

from scoredistill import Run, build, resolve
from scoredistill.export.images import enlarge, grid, write_png
from scoredistill.gallery import samples
from scoredistill.scenes.image import Image


def playground(
    prompt: tyro.conf.Positional[str],
    *,
    methods: tuple[str, ...] = ("sds", "csd", "sdi", "dsd"),  # see: scoredistill methods
    prior: str = "toybox",  # or the path of Toybox weights (.safetensors)
    steps: int = 300,  # of each run
    count: int = 6,  # images of each method, from starts and noises of their own
    seed: int = 0,
    out: Path = Path("playground.png"),
) -> None:
    """Distil a sentence into images by several methods; a few minutes on two CPU cores."""
    asked, rows = Run(prompt, scene="image", prior=prior, steps=steps, count=count, seed=seed), []
    for method in methods:
        parts = build(resolve(replace(asked, method=method)))
        for step in parts.optimize():
            if step.index == 0:
                print(f"{method}: {steps} steps")
        assert isinstance(parts.scene, Image)
        rows.append(parts.scene.render(None, parts.background).rgb.detach().cpu())
    ddim = samples(resolve(asked), count, scale=2.5, steps=30)
    write_png(grid(enlarge(torch.cat([*rows, ddim]).clamp(0, 1), 128), columns=count), out)
    print(f"{out}, row by row: {', '.join(methods)}, DDIM")


if __name__ == "__main__":
    tyro.cli(playground)
