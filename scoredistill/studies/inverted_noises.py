"""DSD's figure 9: are the noises that DDIM inversion finds for the views of one toy close to each other?

T toys   V views of each   N = T V pictures, toy by toy
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Prompt
from scoredistill.export.sheet import Sheet
from scoredistill.methods.inversion import ascend, even_times
from scoredistill.studies.embedding import Separation, separation, shuffled, tsne
from scoredistill.studies.estimates import all_of
from scoredistill.studies.images import encoded
from scoredistill.studies.study import Bench, Finding, Row, Study, X
from scoredistill.studies.truth import SEED, toy

STEPS = 20  # of the inversion
SHUFFLES = 100
NOISES, PICTURES = "noises under the caption", "pictures"
RATIO, NEAREST = "within / between", "nearest is of the same toy"
CANVAS, THUMB, FRAME = 720, 32, 2  # pixels: the map, a picture on it, and the colored edge that names its toy


def run(bench: Bench) -> Finding:
    """Inverts `bench.seeds` views of a toy of each caption, and measures how the noises of a toy keep together."""
    rng = np.random.default_rng(SEED + bench.seed)
    rgb = torch.cat([toy(caption, bench.seeds, bench.size, rng) for caption in bench.captions])
    x = encoded(bench, rgb)
    points = {
        NOISES: inverted(bench, x, bench.prompt),
        "noises under no caption": inverted(bench, x, Prompt("")),
        PICTURES: x,
    }
    group = torch.arange(len(bench.captions)).repeat_interleave(bench.seeds)
    perplexity = max(min(bench.seeds - 1.0, (bench.rows - 2) / 3), 1.5)  # a toy's other views, if there are others
    maps = [tsne(points[name].flatten(1), perplexity=perplexity, seed=bench.seed) for name in (NOISES, PICTURES)]
    sheet = Sheet(torch.stack([drawn(at, rgb, group) for at in maps])[None], ("t-SNE",), (NOISES, PICTURES))
    found = {name: separation(each.flatten(1), group) for name, each in points.items()}
    chance = shuffled(points[NOISES].flatten(1), group, count=SHUFFLES, seed=bench.seed)
    holds, because = verdict(found[NOISES], found[PICTURES], chance)
    return Finding(
        holds,
        because,
        rows=[*(_row(name, found[name], float(each.std())) for name, each in points.items()), _shuffled_row(chance)],
        sheets={"Each picture at the place of its noise, and at its own": sheet},
        settings={"steps of the inversion": STEPS, "guidance of the inversion": 1.0},
        remarks=REMARKS,
    )


@torch.no_grad()
def inverted(bench: Bench, x: X, prompt: Prompt) -> X:
    """x at the top time, where DDIM without guidance would start to come to it: noise of about unit scale."""
    prior, conditions = bench.prior, bench.prior.conditions(prompt, None, len(x))
    top = prior.schedule.snap(torch.ones(len(x), dtype=torch.float64))
    times = even_times(prior, top, torch.full((len(x),), STEPS))
    return prior.schedule.alpha(top, x) * ascend(prior, x, times, conditions, 1.0)


def drawn(at: Float[Tensor, "N 2"], rgb: Float[Tensor, "N 3 H W"], group: Tensor) -> Float[Tensor, "3 h w"]:
    """The map: each picture small at its place, with an edge in the color of its toy."""
    canvas = torch.ones(3, CANVAS, CANVAS)
    place = (at - at.amin(0)) / (at.amax(0) - at.amin(0)).clamp(min=1e-9)
    corners = (place * (CANVAS - THUMB)).round().long().tolist()
    small = torch.nn.functional.interpolate(rgb, (THUMB - 2 * FRAME,) * 2, mode="bilinear", antialias=True)
    for (left, top), picture, number in zip(corners, small, group.tolist(), strict=True):
        canvas[:, top : top + THUMB, left : left + THUMB] = hue(number, int(group.max()) + 1)[:, None, None]
        canvas[:, top + FRAME : top + THUMB - FRAME, left + FRAME : left + THUMB - FRAME] = picture
    return canvas


def hue(number: int, count: int) -> Float[Tensor, "3"]:
    """The color of one of `count` groups: a place on the wheel of hues."""
    offsets = torch.tensor([0.0, 2.0, 4.0])
    return ((6 * number / count + offsets) % 6 - 3).abs().sub(1).clamp(0, 1)


def verdict(ours: Separation, pictures: Separation, chance: Sequence[Separation]) -> tuple[bool | None, str]:
    """Whether the noises keep together better than under any shuffling of the toys, and the numbers that say so."""
    least, most = min(each.ratio for each in chance), max(each.nearest for each in chance)
    because = (
        f"Two noises of one toy are {ours.ratio:.3f} times as far apart as two of different toys (of shuffled toys at "
        f"least {least:.3f}), and the nearest noise is of the same toy in {ours.nearest:.0%} of cases (shuffled: at "
        f"most {most:.0%}); for the pictures themselves it is {pictures.ratio:.3f} and {pictures.nearest:.0%}."
    )
    return all_of(ours.ratio < least, ours.nearest > most), because


def _row(name: str, found: Separation, deviation: float) -> Row:
    return {"": name, RATIO: found.ratio, NEAREST: found.nearest, "standard deviation": deviation}


def _shuffled_row(chance: Sequence[Separation]) -> Row:
    def spread(values: list[float]) -> dict[str, float | int]:
        return {"mean": statistics.fmean(values), "sd": statistics.stdev(values), "n": len(values)}

    ratios, nearest = [each.ratio for each in chance], [each.nearest for each in chance]
    return {"": f"{NOISES}, toys shuffled", RATIO: spread(ratios), NEAREST: spread(nearest)}


REMARKS = (
    "The paper uses objects of Objaverse, this study toys of Toybox. Each toy is of a different kind, so its views "
    "share colors and shapes: the closeness of the noises has to be compared with that of the pictures."
)

INVERTED = Study(
    name="inverted_noises",
    title="The inverted noise of different views of one toy",
    paper="dsd",
    figure="figure 9",
    claim="The noises from which the ODE leads to the views of one object are closer to each other than to those of "
    "other objects: one noise can stand for all views.",
    run=run,
    captions=20,
    seeds=16,
    steps=1,
)
