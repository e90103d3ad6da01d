"""The SDI paper's figure 1 in 2-D: DDIM beside SDS, SDI with inverted noise, and SDI with cached noise, which is DDIM.

    python benchmarks/figure_1_in_2d.py

Writes a picture (one prompt a row) and a JSON file with the largest difference between cached SDI and DDIM.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
import itertools

from benchmarks.provenance import provenance
from scoredistill.contracts import Conditions, Method, Query
from scoredistill.export.images import enlarge, grid, write_png
from scoredistill.methods import noise, scores, time
from scoredistill.methods.catalogue import sdi, sds
from scoredistill.methods.distillation import Distillation
from scoredistill.optimize import ADAM
from scoredistill.priors.toybox import SIZE, ToyboxPrior

PROMPTS = ["a purple snowman", "a red car", "a green rabbit", "a yellow cottage with a blue roof"]
TIMES = [0.98 - 0.96 * i / 40 for i in range(41)]  # the official 2-D notebook's


def ddim(prior: ToyboxPrior, query: Query, x_T: Tensor, scale: float) -> Tensor:
    """DDIM on [.999, .98, .956, ..., .02], ending in the one-step prediction."""
    levels = prior.schedule
    grid_times = [levels.snap(torch.full((len(x_T),), t, dtype=torch.float64)) for t in (1.0, *TIMES)]
    x_t = x_T
    for t, s in itertools.pairwise(grid_times):
        x_t = levels.move(x_t, scores.guided_eps(prior, x_t, t, query.conditions, scale), t, s)
    t = grid_times[-1]
    return levels.clean(x_t, scores.guided_eps(prior, x_t, t, query.conditions, scale), t)


def cached_sdi(prior: ToyboxPrior, query: Query, x_T: Tensor, scale: float) -> Tensor:
    """SDI whose noise is the last prediction, x moved by the whole gradient: x <- D."""
    x = noise.ddim_start(query, x_T, scale)
    for t in TIMES:
        method = Distillation(time.annealed(t, t), noise.cached, scores.guided(scale), scores.put_in, time.sbar)
        x = x - len(x) * method(query, x).grad
    return x


def optimized(prior: ToyboxPrior, query: Query, method: Method, start: Tensor, steps: int, rate: float) -> Tensor:
    """Adam on the pixels."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate, **ADAM)
    for step in range(steps):
        now = Query(prior, query.conditions, step / steps, query.rng, query.memory)
        x.grad = method(now, x.detach()).grad
        optimizer.step()
    return x.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=2.5)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rate", type=float, default=0.03)
    parser.add_argument("--picture", type=Path, default=Path("docs/images/figure_1_in_2d.png"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/figure_1_in_2d.json"))
    flags = parser.parse_args()
    prior = ToyboxPrior.load(dtype=torch.float32)
    rng = torch.Generator().manual_seed(0)
    x_T = torch.randn(len(PROMPTS), 3, SIZE, SIZE, generator=rng)
    conditions = Conditions(prior.encode_text(PROMPTS), prior.encode_text([""] * len(PROMPTS)))
    query = Query(prior, conditions, 0.0, rng)
    gray = torch.full_like(x_T, 0.5)
    ranges = {"t_max": 0.95, "t_min": 0.05}
    columns = {
        "DDIM": ddim(prior, query, x_T, flags.scale),
        "SDI, cached noise": cached_sdi(prior, query, x_T, flags.scale),
        "SDI, inverted noise": optimized(
            prior, query, sdi(scale=flags.scale, inversion_scale=-flags.scale, **ranges), gray, flags.steps, flags.rate
        ),
        "SDS": optimized(prior, query, sds(scale=flags.scale, **ranges), gray, flags.steps, flags.rate),
        "SDS, scale 25": optimized(prior, query, sds(scale=25.0, **ranges), gray, flags.steps, flags.rate),
    }
    pictures = torch.stack(list(columns.values()), 1).flatten(0, 1)
    write_png(grid(enlarge(prior.decode(pictures).clamp(0, 1), 128), columns=len(columns)), flags.picture)
    difference = float((columns["DDIM"] - columns["SDI, cached noise"]).abs().max())
    record = {"columns": list(columns), "prompts": PROMPTS, "cached SDI minus DDIM, largest": difference}
    flags.out.write_text(json.dumps(record | vars(flags) | provenance(), indent=2, default=str) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
