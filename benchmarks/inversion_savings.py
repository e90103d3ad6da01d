"""How far SDI's gradient moves where its inversion evaluates the prior on fewer rows.

    python benchmarks/inversion_savings.py RUN                  a run of SDI on a 3D scene, not finished or finished
    python benchmarks/inversion_savings.py RUN --times 0.5      a small test

On renders of every checkpoint of the run, at fixed diffusion times, with the same cameras and the same random numbers:
each form of the inversion against the full one, by the cosine and the relative error of the final gradient. A row is
one image under one condition; the share saved is of all rows of a step. Writes inversion_savings.json and .md in
benchmarks/results.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from scoredistill.contracts import Conditions, Prior, Query
from scoredistill.evaluate.report import markdown
from scoredistill.methods import inversion
from scoredistill.methods.distillation import NoiseRule
from scoredistill.methods.sdi import SDI
from scoredistill.randomness import gaussian, stream
from scoredistill.recipes.build import Parts, build
from scoredistill.runs import checkpoint
from scoredistill.runs.folder import RunFolder

ONCE = 10**6  # steps between two evaluations: more than an inversion has
OTHER = "full, other random numbers"  # of noise and times: how far the gradient moves from step to step anyway
RESULTS = Path(__file__).with_name("results")
Ascend = Callable[[Prior, Tensor, Tensor, Conditions, float], Tensor]


def ascend_carrying(
    every: int, space: str, prior: Prior, xbar: Tensor, times: Tensor, conditions: Conditions, scale: float
) -> Tensor:
    """`inversion.ascend` with both predictions at every `every`-th step, at the others the null one alone.

    The direction text - null is carried over from the last step with both: as a difference of noises (`space` "eps"),
    or of clean images ("x0"), which is sbar times as large.
    """
    schedule, direction = prior.schedule, torch.zeros_like(xbar)
    for step, (low, high) in enumerate(itertools.pairwise(times)):
        x_t, size = schedule.alpha(low, xbar) * xbar, schedule.sbar(low, xbar) if space == "x0" else 1.0
        if step % every == 0:
            text, null = prior.eps(x_t, low, conditions.text, conditions.null)
            direction = size * (text - null)
        else:
            (null,) = prior.eps(x_t, low, conditions.null)
        xbar = xbar + (schedule.sbar(high, xbar) - schedule.sbar(low, xbar)) * (null + scale * direction / size)
    return xbar


def noise_by(ascend: Ascend, config: SDI, steps_per_unit: float, scale: float) -> NoiseRule:
    """`inversion.inverted_noise` with another ascent."""

    def rule(query: Query, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
        prior, steps = query.prior, inversion.number_of_steps(steps_per_unit, t)
        times = inversion.even_times(prior, r, steps, config.inversion_start)
        kappa = (ascend(prior, x, times, query.conditions, scale) - x) / prior.schedule.sbar(times[-1], x)
        return kappa + config.entropy * prior.schedule.sigma(r, x) * gaussian(x, query.rng)

    return rule


def forms(config: SDI) -> dict[str, NoiseRule]:
    """The ways to infer the noise, the full one first."""
    steps, scale = config.steps_per_unit, config.inversion_scale
    by = partial(noise_by, config=config, steps_per_unit=steps, scale=scale)
    return {
        "full": by(inversion.ascend),
        "direction carried, evaluated every 2nd step": by(partial(ascend_carrying, 2, "eps")),
        "the same, as a difference of clean images": by(partial(ascend_carrying, 2, "x0")),
        "direction carried from the first step": by(partial(ascend_carrying, ONCE, "eps")),
        f"{steps - 1:g} steps per unit": noise_by(inversion.ascend, config, steps - 1, scale),
        f"{steps - 2:g} steps per unit": noise_by(inversion.ascend, config, steps - 2, scale),
        "inversion without guidance": noise_by(inversion.ascend, config, steps, 0.0),
    }


@torch.no_grad()
def gradients(parts: Parts, state: dict[str, Any], config: SDI, seed: int) -> dict[str, tuple[Tensor, int]]:
    """The gradient and the rows of each form, on the same renders of the scene in a checkpoint."""
    parts.scene.load_state_dict(state["scene"])
    training = parts.recipe.training
    cameras = parts.views(state["index"] / training.steps, training.batch, stream(seed, "cameras"))
    prior: Any = parts.prior
    x = prior.encode(parts.scene.render(cameras, parts.background, stream(seed, "render")).rgb)
    conditions = prior.conditions(parts.prompt, cameras, len(x))
    found = {}
    for name, rule in forms(config).items():
        query, before = Query(prior, conditions, 0.5, stream(seed, "method"), None, cameras), prior.rows
        found[name] = replace(config.build(), noise=rule)(query, x).grad, prior.rows - before
    other = Query(prior, conditions, 0.5, stream(seed + 1000, "method"), None, cameras)
    found[OTHER] = config.build()(other, x).grad, found["full"][1]
    return found


def compared(parts: Parts, folder: Path, times: list[float], seeds: int) -> list[dict[str, Any]]:
    """One row for each form and time: the mean over checkpoints and seeds, and the worst cosine."""
    table = []
    for t in times:
        config: Any = replace(parts.recipe.method, t_min=t, t_max=t)
        states = [checkpoint.read(folder, index) for index in checkpoint.indices(folder)]
        found = [gradients(parts, state, config, seed) for state in states if state for seed in range(seeds)]
        for name in list(found[0])[1:]:
            pairs = [(each["full"], each[name]) for each in found]
            cosines = [float(torch.cosine_similarity(a.flatten(), b.flatten(), 0)) for (a, _), (b, _) in pairs]
            errors = [float((b - a).norm() / a.norm()) for (a, _), (b, _) in pairs]
            saved = fmean(1 - few / rows for (_, rows), (_, few) in pairs)
            row = {
                "t": t,
                "inversion": name,
                "rows saved, %": round(100 * saved, 1),
                "cosine": round(fmean(cosines), 4),
            }
            table.append(row | {"least cosine": round(min(cosines), 4), "relative error": round(fmean(errors), 3)})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--times", nargs="+", type=float, default=[0.9, 0.7, 0.5, 0.4])
    parser.add_argument("--seeds", type=int, default=2, help="draws of cameras and noise at each checkpoint")
    parser.add_argument("--out", type=Path, default=RESULTS / "inversion_savings.json")
    flags = parser.parse_args()
    folder = RunFolder.open(flags.run)
    if not isinstance(folder.recipe.method, SDI):
        raise SystemExit(f"{flags.run} is no run of SDI, whose inversion is measured here")
    rows = compared(build(folder.recipe), folder / "checkpoint", flags.times, flags.seeds)
    record = {"prompt": folder.recipe.prompt.text, "prior": folder.recipe.prior.name, "rows": rows} | provenance()
    flags.out.write_text(json.dumps(record, indent=2) + "\n")
    flags.out.with_suffix(".md").write_text(f"{markdown(rows)}\n")
    print(markdown(rows))


if __name__ == "__main__":
    main()
