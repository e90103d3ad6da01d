"""DSD's tables 2 and 3 in 2D: every method's images beside DDIM's, how true, how diverse and how sharp they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoredistill.methods.catalogue import METHODS
from scoredistill.studies.cache import Made, cached, made_by
from scoredistill.studies.distill import sampled
from scoredistill.studies.dsd_seeds import ODE_STEPS, flat
from scoredistill.studies.estimates import Part, conclude, exceeds
from scoredistill.studies.images import first_seeds
from scoredistill.studies.quality import Quality, measured
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
    sdi, sds = ours["sdi"], ours["sds"]
    parts = [
        *claimed(ours),
        closer("SDI's and SDS's", sdi, sds),
        exceeds("sharpness of SDI minus that of SDS", sdi.images["sharpness"], sds.images["sharpness"]),
    ]
    return _finding(bench, made, found, parts, REMARKS)


def run_sources(bench: Bench) -> Finding:
    """Table 3: DSD with noise that is drawn, kept, or found on the asset's ODE."""
    made = {DDIM: ddim(bench)} | {
        f"dsd, {source} noise": made_by(bench, f"dsd-{source}", "dsd", noise_source=source)
        for source in ("random", "fixed", "ode")
    }
    found = compared(bench, made)
    ode, random, fixed = (found[f"dsd, {source} noise"] for source in ("ode", "random", "fixed"))
    parts: list[Part] = []
    for name, other in (("random", random), ("fixed", fixed)):
        words = f"diversity with ODE noise minus that with {name} noise"
        parts.append(exceeds(words, ode.images["diversity"], other.images["diversity"]))
        parts.append(closer(f"ODE and {name} noise:", ode, other))
    return _finding(bench, made, found, parts, "")


def ddim(bench: Bench) -> Made:
    """DDIM from the noise that is the asset's in DSD."""
    scale = bench.terms.scale
    settings = {"method": "ddim", "scale": scale, "steps": bench.ddim_steps}
    return cached(bench, "ddim", settings, lambda: (sampled(bench, scale), None))


def flat_dsd(bench: Bench) -> Made:
    """DSD as the paper has it for flat images: plain descent from DDIM's first image."""
    settings = {"method": "dsd_2d", "scale": bench.terms.scale, "ode_steps": ODE_STEPS}
    return cached(bench, FLAT, settings, lambda: (flat(bench, bench.steps), None))


def compared(bench: Bench, made: Mapping[str, Made]) -> dict[str, Quality]:
    """The quality of everything made, and of as many other true renders, against the same true renders."""
    true = renders(bench.captions, RENDERS, bench.size)
    others = renders(bench.captions, bench.seeds, bench.size, SEED + 1)
    found = {TRUE: measured(bench, others, true)}
    return found | {name: measured(bench, each.rgb, true, each) for name, each in made.items()}


def near(ours: Qualities, best: float) -> list[str]:
    """The methods whose similarity is within `NEAR` of the best."""
    return [name for name, quality in ours.items() if quality.mean("similarity") >= (1 - NEAR) * best]


def claimed(ours: Qualities) -> list[Part]:
    """The parts of the claim about DSD: it is true, and the most diverse of those that are.

    Diversity alone would crown whatever burns into noise.
    """
    best = max(ours, key=lambda name: ours[name].mean("similarity"))
    least = min(ours, key=lambda name: ours[name].frechet.value)
    true = near(ours, ours[best].mean("similarity"))
    similarities = ours["dsd"].mean("similarity"), ours[best].mean("similarity")
    distances = ours["dsd"].frechet.value, ours[least].frechet.value
    parts: list[Part] = [
        ("dsd" in true, f"DSD's similarity {similarities[0]:.3f}, the best {similarities[1]:.3f} ({best})"),
        (
            distances[0] <= (1 + NEAR) * distances[1],
            f"its Frechet distance {distances[0]:.3g}, the least {distances[1]:.3g} ({least})",
        ),
    ]
    rivals = [name for name in true if name != "dsd"]
    if not rivals:
        return [*parts, (True, "no other method is as true")]
    rival = max(rivals, key=lambda name: ours[name].mean("diversity"))
    words = f"its diversity minus that of {rival}, the most diverse of {len(rivals)} others of such a similarity"
    return [*parts, exceeds(words, ours["dsd"].images["diversity"], ours[rival].images["diversity"])]


def closer(what: str, one: Quality, other: Quality) -> Part:
    """The part of a claim that one is nearer to the true renders than the other."""
    distances = one.frechet.value, other.frechet.value
    return distances[0] < distances[1], f"{what} Frechet distance {distances[0]:.3g} against {distances[1]:.3g}"


def _finding(bench: Bench, made: Mapping[str, Made], found: Qualities, parts: list[Part], remarks: str) -> Finding:
    holds, because = conclude(*parts)
    images = {name: each.rgb for name, each in made.items()}
    sampler = f"scale {bench.terms.scale}, {bench.ddim_steps} steps"
    settings: dict[str, Any] = {"true renders of each caption": RENDERS, "DDIM": sampler}
    return Finding(
        holds=holds,
        because=because,
        rows=[quality.row(name) for name, quality in found.items()],
        sheets={"The first seed of each caption": first_seeds(bench, images)},
        settings=settings,
        remarks=" ".join(filter(None, (COMMON, remarks, bench.terms.remarks))),
    )


COMMON = (
    "The paper uses FID, CLIP and LPIPS of 3D renders; here they are replaced by the judge's features of 2D images. "
    "Frechet distances of so few images (n) are biased upwards and can only be compared with each other."
)
REMARKS = (
    "The paper compares SDS, HiFA, SDI, Consistent3D, VSD and ASD; the other methods are additional. The claim about "
    "SDI is that of its own paper. 2D images have no cameras, so ESD equals VSD here. Algorithm 2 is DSD by gradient "
    "descent from DDIM's first image. The row dsd uses the preset fast, like all others: on Toybox algorithm 2 from "
    "the background color, otherwise algorithm 3 by Adam from gray noise. Noise raises the sharpness."
)

DIVERSITY = Study(
    name="dsd_diversity",
    title="Fidelity and diversity of all methods, compared with DDIM",
    paper="dsd",
    figure="tables 1 and 2",
    claim="DSD's fidelity is close to the best, and among all methods of such fidelity it is the most diverse; SDI is "
    "truer to the data and sharper than SDS.",
    run=run,
    captions=12,
    seeds=6,
    steps=120,
)
SOURCES = Study(
    name="dsd_noise_sources",
    title="DSD with random, fixed and ODE noise",
    paper="dsd",
    figure="table 3",
    claim="Noise from the asset's ODE gives more diverse and more faithful results than fresh noise (as in ASD) and "
    "than the fixed noise itself (as in Consistent3D).",
    run=run_sources,
    captions=12,
    seeds=6,
    steps=120,
)
