"""SDI's figure 1 in 2D: DDIM, SDI with the noise of the last step, SDI with inverted noise, SDS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from scoredistill.methods import sds
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.studies.distill import cached_sdi, distill, sampled
from scoredistill.studies.estimates import conclude, exceeds, gap
from scoredistill.studies.images import row, side_by_side
from scoredistill.studies.scales import SCALE, SCALES, TIMES, WINDOW, here, sdi_2d
from scoredistill.studies.study import Bench, Finding, Study

HIGH = here(100.0)  # SDS's usual scale
EXACT = 1e-3  # what thirty steps of a network make of float32's rounding
DDIM, CACHED, INVERTED, SDS, SDS_HIGH = (
    *("DDIM", "SDI, cached noise", "SDI, inverted noise"),
    *(f"SDS, scale {SCALE:g}", f"SDS, scale {HIGH:.3g}"),
)


def run(bench: Bench) -> Finding:
    """All five on the same captions; DDIM and cached SDI from the same noise, in float32."""
    exact = replace(bench, prior=ToyboxPrior(bench.prior.net, bench.prior.device, torch.float32))
    made = {
        DDIM: sampled(exact, SCALE),
        CACHED: cached_sdi(exact, SCALE),
        INVERTED: distill(bench, sdi_2d()),
        SDS: distill(bench, sds.SDS(scale=SCALE, **WINDOW)),
        SDS_HIGH: distill(bench, sds.SDS(scale=HIGH, **WINDOW)),
    }
    rows, values = zip(*(row(bench, name, x) for name, x in made.items()), strict=True)
    measured = dict(zip(made, values, strict=True))
    difference = float((made[DDIM] - made[CACHED]).abs().max())
    lost = gap(measured[DDIM]["similarity"], measured[INVERTED]["similarity"])
    holds, because = conclude(
        (difference < EXACT, f"SDI with cached noise differs from DDIM by {difference:.1g} at most"),
        (lost.sign is not True, f"DDIM's similarity less that of SDI with inverted noise {lost}, within its error"),
        exceeds("sharpness of SDI with inverted noise less SDS's", *_both(measured, INVERTED, SDS, "sharpness")),
        exceeds("sharpness of DDIM less SDS's", *_both(measured, DDIM, SDS, "sharpness")),
        exceeds("saturation of SDS at the high scale less DDIM's", *_both(measured, SDS_HIGH, DDIM, "saturation")),
    )
    return Finding(
        holds,
        because,
        rows=rows,
        sheets={"figure": side_by_side(bench, made)},
        settings={"scale": SCALE, "high scale": HIGH, "DDIM steps": bench.ddim_steps, **WINDOW},
        remarks=f"{SCALES} {TIMES}",
    )


def _both(measured: Mapping[str, Mapping[str, Tensor]], one: str, other: str, what: str) -> tuple[Tensor, Tensor]:
    return measured[one][what], measured[other][what]


FIGURE_1 = Study(
    name="sdi_figure_1",
    title="SDI is DDIM where SDS blurs",
    paper="sdi",
    figure="figure 1",
    claim="In 2D SDI with the noise of the last step matches DDIM exactly and with inverted noise closely; SDS is "
    "blurry at a low guidance scale, and over-saturated at a high one.",
    run=run,
    steps=80,
)
