"""DSD's tables 2 and 3 in 2-D: every method's images beside DDIM's, how true, how diverse and how sharp they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoredistill.methods.catalogue import METHODS
from scoredistill.studies.distill import sampled
from scoredistill.studies.dsd_seeds import ODE_STEPS, flat
from scoredistill.studies.estimates import all_of, gap
from scoredistill.studies.kept import Made, kept, made_by
from scoredistill.studies.looks import side_by_side
from scoredistill.studies.quality import Quality, measured
from scoredistill.studies.scales import SCALE, SCALES
from scoredistill.studies.study import Bench, Finding, Study
from scoredistill.studies.truth import SEED, renders

RENDERS = 24  # true renders of each caption: enough that their own Frechet distance is small beside a method's
NEAR = 0.05  # share by which a fidelity may stay behind the best
TRUE, DDIM, FLAT = "true renders", "DDIM", "dsd, algorithm 2"

Qualities = Mapping[str, Quality]


def run(bench: Bench) -> Finding:
    """Table 2: all methods, each with its fast preset."""
    made = {DDIM: ddim(bench), FLAT: flat_dsd(bench)} | {name: made_by(bench, name, name) for name in METHODS}
    found = compared(bench, made)
    ours = {name: quality for name, quality in found.items() if name in METHODS}
    parts = [_diverse(ours), *_near(ours), *_beats(ours, "sdi", "sds")]
    return _finding(bench, made, found, parts, REMARKS)


def run_sources(bench: Bench) -> Finding:
    """Table 3: DSD with noise that is drawn, kept, or found on the asset's ODE."""
    made = {DDIM: ddim(bench)} | {
        f"dsd, {source} noise": made_by(bench, f"dsd-{source}", "dsd", noise_source=source)
        for source in ("random", "fixed", "ode")
    }
    found = compared(bench, made)
    ode, random, fixed = (found[f"dsd, {source} noise"] for source in ("ode", "random", "fixed"))
    parts = []
    for name, other in (("random", random), ("fixed", fixed)):
        parts += [_exceeds(f"ODE's diversity less {name} noise's", ode, other, "diversity"), _closer("ODE", ode, other)]
    return _finding(bench, made, found, parts, "")


def ddim(bench: Bench) -> Made:
    """DDIM from the noise that is the asset's in DSD."""
    said = {"method": "ddim", "scale": SCALE, "steps": bench.ddim_steps}
    return kept(bench, "ddim", said, lambda: (sampled(bench, SCALE), None))


def flat_dsd(bench: Bench) -> Made:
    """DSD as the paper has it for flat images: plain descent from DDIM's first image."""
    said = {"method": "dsd_2d", "scale": SCALE, "ode_steps": ODE_STEPS}
    return kept(bench, FLAT, said, lambda: (flat(bench, bench.steps), None))


def compared(bench: Bench, made: Mapping[str, Made]) -> dict[str, Quality]:
    """The quality of everything made, and of as many other true renders, against the same true renders."""
    true = renders(bench.captions, RENDERS)
    others = bench.prior.encode(renders(bench.captions, bench.seeds, SEED + 1).to(bench.prior.device))
    found = {TRUE: measured(bench, others, true)}
    return found | {name: measured(bench, each.x(bench), true, each) for name, each in made.items()}


Part = tuple[bool | None, str]
"""Whether a part of the claim holds, and the numbers that decide."""


def _diverse(ours: Qualities) -> Part:
    """DSD is more diverse than the most diverse of the others."""
    others = {name: float(quality.images["diversity"].mean()) for name, quality in ours.items() if name != "dsd"}
    second = max(others, key=others.__getitem__)
    return _exceeds(
        f"DSD's diversity less {second}'s, the most diverse of the others", ours["dsd"], ours[second], "diversity"
    )


def _near(ours: Qualities) -> list[Part]:
    """DSD's fidelity stays within `NEAR` of the best, by similarity and by Frechet distance."""
    similarity = {name: float(quality.images["similarity"].mean()) for name, quality in ours.items()}
    distance = {name: quality.frechet.value for name, quality in ours.items()}
    best, least = max(similarity, key=similarity.__getitem__), min(distance, key=distance.__getitem__)
    return [
        (
            similarity["dsd"] >= (1 - NEAR) * similarity[best],
            f"DSD's similarity {similarity['dsd']:.3f}, the best {similarity[best]:.3f} ({best})",
        ),
        (
            distance["dsd"] <= (1 + NEAR) * distance[least],
            f"DSD's Frechet distance {distance['dsd']:.3g}, the least {distance[least]:.3g} ({least})",
        ),
    ]


def _beats(ours: Qualities, one: str, other: str) -> list[Part]:
    """`one` is nearer to the true renders than `other`, and sharper."""
    difference = f"{one.upper()}'s sharpness less {other.upper()}'s"
    return [_closer(one.upper(), ours[one], ours[other]), _exceeds(difference, ours[one], ours[other], "sharpness")]


def _exceeds(what: str, one: Quality, other: Quality, name: str) -> Part:
    """Whether one exceeds the other, image by image."""
    difference = gap(one.images[name], other.images[name])
    return difference.sign, f"{what} {difference}"


def _closer(what: str, one: Quality, other: Quality) -> Part:
    distances = one.frechet.value, other.frechet.value
    return distances[0] < distances[1], f"{what}'s Frechet distance {distances[0]:.3g} against {distances[1]:.3g}"


def _finding(bench: Bench, made: Mapping[str, Made], found: Qualities, parts: list[Part], remarks: str) -> Finding:
    says = {True: "yes", False: "no", None: "undecided"}
    images = {name: each.x(bench) for name, each in made.items()}
    sampler = f"scale {SCALE}, {bench.ddim_steps} steps"
    settings: dict[str, Any] = {"true renders of each caption": RENDERS, "DDIM": sampler}
    return Finding(
        holds=all_of(*(holds for holds, _ in parts)),
        because="; ".join(f"{text}: {says[holds]}" for holds, text in parts) + ".",
        rows=[quality.row(name) for name, quality in found.items()],
        sheets={"The first seed of each caption": side_by_side(bench, images)},
        settings=settings,
        remarks=" ".join(filter(None, (COMMON, remarks, SCALES))),
    )


COMMON = (
    "Where the paper takes FID, CLIP and LPIPS of 3-D renders, these are the judge's features of flat images; Frechet "
    "distances of so few images (n) are biased upwards, and mean something only beside each other."
)
REMARKS = (
    "The paper compares SDS, HiFA, SDI, Consistent3D, VSD and ASD; the other methods are beside them. The claim about "
    "SDI is its own paper's. Flat images have no cameras, so ESD is VSD here. Algorithm 2 is DSD by plain descent from "
    "DDIM's first image; the row dsd is algorithm 3 by Adam from gray noise, like all others."
)

DIVERSITY = Study(
    name="dsd_diversity",
    title="Fidelity and diversity of every method, beside DDIM",
    paper="dsd",
    figure="tables 1 and 2",
    claim="DSD is more diverse than any other method of score distillation, at a fidelity near the best; and SDI is "
    "truer and sharper than SDS.",
    run=run,
    captions=12,
    seeds=6,
    steps=200,
)
SOURCES = Study(
    name="dsd_noise_sources",
    title="DSD with noise drawn anew, kept for good, and found on an ODE",
    paper="dsd",
    figure="table 3",
    claim="Following the ODE of the asset's noise is both more diverse and truer than fresh noise (as in ASD), and "
    "than the noise itself (as in Consistent3D).",
    run=run_sources,
    captions=12,
    seeds=6,
    steps=200,
)
