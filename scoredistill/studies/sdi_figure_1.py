"""SDI's figure 1 in 2D: DDIM, SDI with the noise of the last step, SDI with inverted noise, SDS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scoredistill.methods import sds
from scoredistill.priors.load import load_prior
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.studies.distill import cached_sdi, distill, sampled
from scoredistill.studies.estimates import conclude, exceeds, gap
from scoredistill.studies.images import row, side_by_side
from scoredistill.studies.study import Bench, Finding, Study

HIGH = 100.0  # SDS's usual scale, in the paper's numbers
EXACT = 1e-3  # what thirty steps of a network make of float32's rounding
DDIM, CACHED, INVERTED = "DDIM", "SDI, cached noise", "SDI, inverted noise"


def run(bench: Bench) -> Finding:
    """All five on the same captions; DDIM and cached SDI from the same noise, in float32."""
    exact, scale, high = exactly(bench), bench.terms.scale, bench.terms.here(HIGH)
    sds_low, sds_high = (f"SDS, scale {each:.3g}" for each in (scale, high))
    made = {
        DDIM: sampled(exact, scale),
        CACHED: cached_sdi(exact, scale),
        INVERTED: distill(bench, bench.terms.tuned("sdi", **bench.terms.window), **bench.terms.image("sdi")),
        sds_low: distill(bench, sds.SDS(scale=scale, **bench.terms.window)),
        sds_high: distill(bench, sds.SDS(scale=high, **bench.terms.window)),
    }
    rows, values = zip(*(row(bench, name, x) for name, x in made.items()), strict=True)
    measured = dict(zip(made, values, strict=True))
    difference = float((made[DDIM] - made[CACHED]).abs().max())
    lost = gap(measured[DDIM]["similarity"], measured[INVERTED]["similarity"])
    holds, because = conclude(
        (difference < EXACT, f"SDI with cached noise differs from DDIM by {difference:.1g} at most"),
        (
            lost.sign is not True,
            f"similarity of DDIM minus that of SDI with inverted noise {lost.ends}, not above 0",
        ),
        exceeds(
            "sharpness of SDI with inverted noise minus that of SDS", *_both(measured, INVERTED, sds_low, "sharpness")
        ),
        exceeds("sharpness of DDIM minus that of SDS", *_both(measured, DDIM, sds_low, "sharpness")),
        exceeds(
            "saturation of SDS at the high scale minus that of DDIM", *_both(measured, sds_high, DDIM, "saturation")
        ),
    )
    return Finding(
        holds,
        because,
        rows=rows,
        sheets={"figure": side_by_side(bench, made)},
        settings={"scale": scale, "high scale": high, "DDIM steps": bench.ddim_steps, **bench.terms.window},
        remarks=f"SDI with inverted noise uses the preset fast. {bench.terms.remarks}",
    )


def exactly(bench: Bench) -> Bench:
    """The bench with its prior in float32."""
    prior: Any = bench.prior
    if isinstance(prior, ToyboxPrior):
        return replace(bench, prior=ToyboxPrior(prior.net, prior.device, torch.float32))
    return replace(bench, prior=load_prior(prior.name, prior.device, dtype=torch.float32))


def _both(measured: Mapping[str, Mapping[str, Tensor]], one: str, other: str, what: str) -> tuple[Tensor, Tensor]:
    return measured[one][what], measured[other][what]


FIGURE_1 = Study(
    name="sdi_figure_1",
    title="SDI matches DDIM where SDS is blurry",
    paper="sdi",
    figure="figure 1",
    claim="In 2D SDI with the noise of the last step matches DDIM exactly and with inverted noise closely; SDS is "
    "blurry at a low guidance scale, and over-saturated at a high one.",
    run=run,
    steps=80,
)
