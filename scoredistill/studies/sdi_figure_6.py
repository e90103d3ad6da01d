"""SDI's figure 6 in 2D: noise, noisy image and one-step image in the course of two runs, of random and inverted noise.

kappa  noise put into x   x_t  noisy image   D  one-step denoised image   [N c h w]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.export.sheet import Sheet
from scoredistill.methods.sdi import SDI
from scoredistill.studies.distill import image, query, watch
from scoredistill.studies.estimates import conclude, exceeds, over_seeds
from scoredistill.studies.evolution import moments
from scoredistill.studies.images import judged, pixels
from scoredistill.studies.sdi_noise_patterns import NOISE_RANGE, concentration, visible
from scoredistill.studies.study import Bench, Finding, Study, X

RANDOM, INVERTED = "SDS, t falls", "SDI"
SHOWN = {"image": 1.0, "noise": 1 / NOISE_RANGE, "noisy image": 1.0, "denoised in one step": 1.0}
"""The rows of a sheet, with the factor that brings each into the range of pictures."""


@dataclass(frozen=True)
class Moment:
    """A step of a run."""

    t: float
    x: X
    kappa: X
    x_t: X
    D: X
    again: X  # D by another draw of all that is random

    @property
    def shown(self) -> Sequence[X]:
        """What a sheet shows, in the order of `SHOWN`."""
        return self.x, self.kappa, self.x_t, self.D


def run(bench: Bench) -> Finding:
    """Both runs, and what was measured at their moments."""
    methods = {RANDOM: bench.terms.sdi(noise_source="random"), INVERTED: bench.terms.sdi()}
    runs = {name: list(watched(bench, method)) for name, method in methods.items()}
    focus = {name: on_the_toy(bench, each) for name, each in runs.items()}
    early = {name: early_similarity(bench, each) for name, each in runs.items()}
    change = {name: changed(bench, each) for name, each in runs.items()}
    sharp = {name: judged(bench, pixels(bench, each[-1].D))["sharpness"] for name, each in runs.items()}
    holds, because = conclude(
        exceeds(
            "energy of the noise on the toy relative to that beside it, SDI minus SDS", focus[INVERTED], focus[RANDOM]
        ),
        exceeds("similarity of the early one-step images, SDI minus SDS", early[INVERTED], early[RANDOM]),
        exceeds(
            "change of the one-step image with another noise sample, SDS minus SDI", change[RANDOM], change[INVERTED]
        ),
        exceeds("sharpness of the last one-step image, SDI minus SDS", sharp[INVERTED], sharp[RANDOM]),
    )
    return Finding(
        holds,
        because,
        rows=[
            {
                "": name,
                "energy on the toy / beside": over_seeds(focus[name]),
                "similarity of early D": over_seeds(early[name]),
                "change of D by another draw": over_seeds(change[name]),
                "sharpness of the last D": over_seeds(sharp[name]),
            }
            for name in runs
        ],
        sheets={name: sheet(bench, each) for name, each in runs.items()},
        settings={name: str(method) for name, method in methods.items()},
        remarks="Both runs have the same times, so only the noise differs: SDS is SDI with fresh random noise. "
        "Early is the first half of the moments. Change: root mean square difference of two one-step images of the "
        f"same image. The pictures show the first seed of the first caption. {bench.terms.remarks}",
    )


def watched(bench: Bench, method: SDI) -> Iterator[Moment]:
    """The moments of a run."""
    wanted = moments(bench.steps)
    for step in watch(bench, image(bench), method):
        if step.index in wanted:
            ask = replace(query(bench), progress=step.index / bench.steps)
            again, probe = method(ask, step.x).probe["x0"], step.distilled.probe
            yield Moment(float(probe["t"][0]), step.x, probe["kappa"], probe["x_t"], probe["x0"], again)


def on_the_toy(bench: Bench, run: Sequence[Moment]) -> Float[Tensor, "C S"]:
    """Energy of the noise on the toy over that beside it, the mean over the run; the toy is that of the last D."""
    toy = visible(bench, run[-1].D)
    return torch.stack([bench.fold(concentration(each.kappa, toy)) for each in run]).mean(0)


def early_similarity(bench: Bench, run: Sequence[Moment]) -> Float[Tensor, "C S"]:
    """Similarity of D and caption, the mean over the first half of the moments."""
    early = run[: (len(run) + 1) // 2]
    return torch.stack([judged(bench, pixels(bench, each.D))["similarity"] for each in early]).mean(0)


def changed(bench: Bench, run: Sequence[Moment]) -> Float[Tensor, "C S"]:
    """Root mean square difference of two draws of D, as pixels, the mean over the run."""
    found = [(pixels(bench, each.D) - pixels(bench, each.again)).square().flatten(1).mean(1).sqrt() for each in run]
    return torch.stack([bench.fold(each) for each in found]).mean(0)


def sheet(bench: Bench, run: Sequence[Moment]) -> Sheet:
    """The first image of a run: what is optimized, the noise, the noisy image and D, a moment a column."""
    columns = [
        torch.stack([pixels(bench, factor * x)[0] for x, factor in zip(each.shown, SHOWN.values(), strict=True)])
        for each in run
    ]
    return Sheet(torch.stack(columns, 1), list(SHOWN), [f"t = {each.t:.2f}" for each in run])


FIGURE_6 = Study(
    name="sdi_figure_6",
    title="Noise and one-step images during SDS and SDI",
    paper="sdi",
    figure="figure 6",
    claim="Noise inferred by inversion is concentrated on the object, whereas that of SDS covers the whole view; "
    "one-step images are more consistent, have details earlier, and are sharper.",
    run=run,
    captions=3,
    seeds=2,
)
