"""Flat images by every method of the preset `fast`, beside DDIM samples, on captions that no setting was chosen on.

    python benchmarks/flat.py --methods sds sdi dsd cfd nfsd csd ism --images 2

Similarity to the caption by the judge: mean and standard error over images. Also the size of the guidance direction on
DDIM's samples, on the toy and on the background, which decides how methods should step there. Writes
benchmarks/results/flat.json and a sheet: a row a caption; DDIM, then the methods.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from scoredistill.contracts import Prompt
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.metrics.sharpness import sharpness
from scoredistill.export.images import grid, write_png
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.guidance import guidance_direction
from scoredistill.recipes.build import build, build_prior
from scoredistill.recipes.fast import fast
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.runs.samples import samples
from scoredistill.toybox import BACKGROUND

CAPTIONS = ("an orange cat", "a purple snowman", "a pink cupcake", "a blue boat")
SCALE, DDIM_STEPS = 2.5, 30
TIMES = (0.2, 0.4, 0.6, 0.8)  # at which the guidance direction is measured
UNLIKE, REACH = 0.1, 3  # a pixel shows the toy if a channel differs by so much; the background is farther from it


def recipe(method: str, caption: str, flags: argparse.Namespace) -> Recipe:
    """The run of a method, which makes all images of a caption."""
    found = fast(caption, method=method, scene="image", prior="toybox", seed=flags.seed)
    return changed(changed(found, "scene.count", flags.images), "training.steps", flags.steps)


def drawn(method: str, caption: str, flags: argparse.Namespace) -> Float[Tensor, "N 3 H W"]:
    """The images of a method after its last step; `ddim` is not a method but samples."""
    one = recipe("sdi" if method == "ddim" else method, caption, flags)
    if method == "ddim":
        return samples(one.prior, Prompt(caption), flags.images, scale=SCALE, steps=DDIM_STEPS, seed=flags.seed)
    parts = build(one)
    for _ in parts.optimize():
        pass
    return parts.scene.pixels.detach().float().clamp(0, 1)


@torch.no_grad()
def guidance_sizes(caption: str, rgb: Float[Tensor, "N 3 H W"], flags: argparse.Namespace) -> Float[Tensor, "2"]:
    """The root mean square of eps_text - eps_null over `TIMES` and the pixels of the toy, and of the background."""
    prior, rng = build_prior(recipe("sds", caption, flags).prior), torch.Generator().manual_seed(flags.seed)
    conditions, x = prior.conditions(Prompt(caption), None, len(rgb)), prior.encode(rgb)
    toy = ((rgb - torch.tensor(BACKGROUND)[:, None, None]).abs().amax(1, keepdim=True) > UNLIKE).float()
    background = 1 - functional.max_pool2d(toy, 2 * REACH + 1, 1, REACH)
    found = []
    for time in TIMES:
        t = prior.schedule.snap(torch.full((len(x),), time, dtype=torch.float64))
        x_t = prior.schedule.diffuse(x, torch.randn(x.shape, generator=rng), t)
        energy = guidance_direction(prior, x_t, t, conditions, conditions.null)[0].square().mean(1, keepdim=True)
        found.append(torch.stack([(energy * mask).sum() / mask.sum() for mask in (toy, background)]))
    return torch.stack(found).mean(0).sqrt()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--images", type=int, default=2, help="of each caption")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/flat.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/flat.png"))
    flags = parser.parse_args()
    judge, rows, pictures = Judge.load(), {}, {}
    for method in ("ddim", *flags.methods):
        pictures[method] = torch.stack([drawn(method, caption, flags) for caption in CAPTIONS])  # [C N 3 H W]
        pairs = zip(pictures[method], CAPTIONS, strict=True)
        found = torch.cat([judge.similarity(images, [caption])[:, 0] for images, caption in pairs]).double()
        rows[method] = {
            "similarity": round(float(found.mean()), 4),
            "standard error": round(float(found.std()) / math.sqrt(len(found)), 4),
            "sharpness": round(float(sharpness(pictures[method].flatten(0, 1)).mean()), 4),
            "n": len(found),
        }
        print(method, rows[method], flush=True)
    pairs = zip(CAPTIONS, pictures["ddim"], strict=True)
    sizes = torch.stack([guidance_sizes(*pair, flags) for pair in pairs]).mean(0)
    rows["ddim"] |= {"guidance direction": dict(zip(("toy", "background"), sizes.tolist(), strict=True))}
    about = {"captions": CAPTIONS, "images of each": flags.images, "steps": flags.steps, "seed": flags.seed}
    flags.out.write_text(json.dumps({**about, "methods": rows, "provenance": provenance()}, indent=1) + "\n")
    cells = torch.stack([found[:, 0] for found in pictures.values()], 1).flatten(0, 1)
    write_png(grid(cells, columns=len(pictures), gap=4), flags.picture)


if __name__ == "__main__":
    main()
