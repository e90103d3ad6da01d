"""DSD's figure 4: what each method makes of the same seeds, beside the DDIM samples of these seeds.

N = C S images of C captions and S seeds
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.export.images import grid
from scoredistill.export.sheet import Sheet
from scoredistill.methods.dsd import dsd_2d, ode_grid, trajectory
from scoredistill.studies.cache import RATE
from scoredistill.studies.distill import distill, query
from scoredistill.studies.estimates import all_of, gap, over_seeds
from scoredistill.studies.images import pixels
from scoredistill.studies.quality import unlikeness
from scoredistill.studies.study import Bench, Finding, Study, X

ODE_STEPS = 20  # of DDIM and of DSD's ODE
ALTERNATES = ("sdi", "consistent3d", "asd", "hifa", "sds")
EQUAL = 0.02  # root mean square difference of pixels below which two samples are one: rounding in half precision


def run(bench: Bench) -> Finding:
    """All columns, each image's distance to the DDIM sample of its own noise, and to those of the other seeds."""
    columns = {"DDIM": reference(bench), "DSD*": flat(bench, ODE_STEPS), "DSD": flat(bench, bench.steps)}
    for name in ("dsd", *ALTERNATES):
        columns[f"{name}, preset"] = distill(bench, bench.terms.tuned(name), RATE, **bench.terms.image(name))
    pictures = {name: pixels(bench, x) for name, x in columns.items()}
    apart = {name: distances(bench, rgb, pictures["DDIM"]) for name, rgb in pictures.items()}
    own = {name: bench.fold(each.diagonal(dim1=1, dim2=2).flatten()) for name, each in apart.items()}
    star = float(own["DSD*"].max())
    nearer = {name: gap(own[f"{name}, preset"], own["DSD"]) for name in ALTERNATES}
    closest = min(nearer, key=lambda name: nearer[name].mean)
    return Finding(
        holds=all_of(star < EQUAL, *(each.sign for each in nearer.values())),
        because=f"From the DDIM sample of its noise, DSD* is at most {star:.2g} away (root mean square of pixels in "
        f"[0, 1]), DSD {float(own['DSD'].mean()):.2g}; the next is {closest}, {nearer[closest].ends} farther than DSD.",
        rows=[_row(bench, name, apart[name], own[name], pictures[name]) for name in columns],
        sheets={"The seeds of each caption, each grid from the same noises": _sheet(bench, pictures)},
        settings={"steps of DDIM and the ODE": ODE_STEPS, "scale": bench.terms.scale},
        remarks=f"DSD* and DSD are algorithm 2, by plain gradient descent in {ODE_STEPS} and in all steps from DDIM's "
        f"first image; where a preset is named, the method runs with its fast preset. {bench.terms.remarks}",
    )


@torch.no_grad()
def reference(bench: Bench) -> X:
    """DDIM from the bench's noise on the very grid of DSD's ODE."""
    schedule, times = bench.prior.schedule, ode_grid(bench.prior.schedule, ODE_STEPS)
    points, predictions = trajectory(query(bench), bench.noise, times, bench.terms.scale)
    return schedule.clean(points[-1], predictions[-1], times[-1].expand(bench.rows))


@torch.no_grad()
def flat(bench: Bench, steps: int) -> X:
    """DSD of flat images in this many steps, at least `ODE_STEPS`; with as many it is DSD*, which is DDIM."""
    steps = max(steps, ODE_STEPS)
    *_, x = dsd_2d(query(bench), bench.noise, scale=bench.terms.scale, steps=steps, ode_steps=ODE_STEPS)
    return x


def distances(bench: Bench, rgb: Float[Tensor, "N 3 H W"], samples: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "C S S"]:
    """Root mean square difference of each image to the sample of each seed of its caption."""
    groups = [each.flatten(1).unflatten(0, (len(bench.captions), bench.seeds)) for each in (rgb, samples)]
    return (groups[0][:, :, None] - groups[1][:, None]).square().mean(-1).sqrt()


def _row(bench: Bench, name: str, apart: Tensor, own: Tensor, rgb: Tensor) -> dict[str, object]:
    others = (apart.sum(2) - own) / max(bench.seeds - 1, 1)
    return {
        "": name,
        "to the sample of its noise": over_seeds(own),
        "to the other seeds' samples": over_seeds(others),
        "its own is the nearest": over_seeds((apart.argmin(2) == torch.arange(bench.seeds)).float()),
        "diversity": over_seeds(unlikeness(bench, bench.judge.image_features(rgb))),
    }


def _sheet(bench: Bench, pictures: dict[str, Tensor]) -> Sheet:
    """A caption a row, a method a column, all seeds in each cell."""
    cells = [torch.stack([grid(seeds, gap=2) for seeds in rgb.split(bench.seeds)]) for rgb in pictures.values()]
    return Sheet(torch.stack(cells, 1), bench.captions, tuple(pictures))


SEEDS = Study(
    name="dsd_seeds",
    title="The same seeds with several methods, compared with their DDIM samples",
    paper="dsd",
    figure="figures 4 and 11",
    claim="With as many optimization steps as DDIM steps (DSD*), the distilled image is the DDIM sample of its noise; "
    "with more steps (DSD) it deviates slightly; the other methods do not reproduce the sample.",
    run=run,
    captions=3,
    seeds=4,
    steps=120,
)
