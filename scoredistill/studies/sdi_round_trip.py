"""SDI's figure 18: a DDIM sample, inverted to noise, and drawn from that noise again."""

from __future__ import annotations

import torch

from scoredistill.contracts import Conditions
from scoredistill.methods import ddim
from scoredistill.methods.inversion import ascend, even_times
from scoredistill.studies.distill import query, sampled
from scoredistill.studies.estimates import conclude, exceeds, over_seeds
from scoredistill.studies.images import row, side_by_side
from scoredistill.studies.study import Bench, Finding, Study, X

PAIRS = ((0.0, 0.0), (1.0, 1.0), (0.0, 7.5), (7.5, 7.5), (-7.5, 7.5))
BEST = (0.0, 0.0)
GUIDED = PAIRS[2:]  # those that the paper compares with it


@torch.no_grad()
def run(bench: Bench) -> Finding:
    """A round trip with each pair of scales, all from the same samples."""
    conditions, here = query(bench).conditions, bench.terms.here
    names = {pair: "({:g}, {:g})".format(*pair) for pair in PAIRS}
    original = sampled(bench, bench.terms.scale)
    again = {pair: round_trip(bench, original, conditions, here(pair[0]), here(pair[1])) for pair in PAIRS}
    errors = {pair: bench.fold((x - original).square().flatten(1).mean(1)).sqrt() for pair, x in again.items()}
    holds, because = conclude(
        *(exceeds(f"error of {names[pair]} minus that of {names[BEST]}", errors[pair], errors[BEST]) for pair in GUIDED)
    )
    made = {"DDIM": original} | {names[pair]: x for pair, x in again.items()}
    misses = {names[pair]: over_seeds(each) for pair, each in errors.items()}
    return Finding(
        holds,
        because,
        rows=[{**row(bench, name, x)[0], "error": misses.get(name)} for name, x in made.items()],
        sheets={"figure": side_by_side(bench, made)},
        settings={"DDIM steps": bench.ddim_steps, "scale of the sample": bench.terms.scale},
        remarks="Pairs are (inversion, sampling again), in the paper's numbers; the error is the root mean square in "
        f"the prior's space, pixels in [-1, 1] or latents. {bench.terms.remarks}",
    )


def round_trip(bench: Bench, x: X, conditions: Conditions, up: float, down: float) -> X:
    """x inverted to noise at guidance `up` in as many steps as DDIM's, and sampled from it at guidance `down`."""
    schedule, top = bench.prior.schedule, torch.ones(len(x), dtype=torch.float64)
    times = even_times(bench.prior, top, torch.full((len(x),), bench.ddim_steps))
    x_T = schedule.alpha(times[-1], x) * ascend(bench.prior, x, times, conditions, up)
    return ddim.sample(bench.prior, x_T, conditions, scale=down, steps=bench.ddim_steps)


FIGURE_18 = Study(
    name="sdi_round_trip",
    title="Inverting a sample and sampling it again",
    paper="sdi",
    figure="figure 18",
    claim="Inversion and sampling without guidance, (0, 0), reconstruct the image almost perfectly; every other pair "
    "only approximates it, and -7.5, the best in 3D, looks bad here.",
    run=run,
)
