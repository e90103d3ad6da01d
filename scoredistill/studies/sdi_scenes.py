"""The tables and figures of the SDI paper in 3D."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from scoredistill.studies.scene_study import Exceeds, NoWorse, SceneStudy, Settings, Statement
from scoredistill.studies.terms import Terms

SDI, SDS = "sdi", "sds"
SIMILAR, SHARP, NEAR, OVER = 0.02, 0.03, 0.005, 0.03  # least differences worth seeing: similarity, sharpness, shape
DETAIL = 1.0  # and of the patch distance: as much as small parts make


def better(one: str, other: str) -> tuple[Statement, ...]:
    """One arm is truer to the caption, sharper, and nearer to the true shape than the other."""
    return (
        Exceeds("similarity", one, other, SIMILAR),
        Exceeds("sharpness", one, other, SHARP),
        Exceeds("chamfer", other, one, NEAR),
        Exceeds("overlap", one, other, OVER),
    )


def methods(*names: str) -> Mapping[str, Settings]:
    """An arm for each method, with its settings of the preset."""
    return {name: {"method": name} for name in names}


TABLE_1 = SceneStudy(
    name="sdi_table_1",
    title="SDI compared with SDS, SJC, VSD, ESD and HiFA in 3D",
    paper="sdi",
    figure="table 1, figures 7 and 15",
    claim="SDI's shapes are as well aligned with the text as the best of the others, better in quality than those of "
    "all, diverge less often than those of SDS, and cost a third of the time of VSD.",
    arms=lambda terms: methods("sds", "sjc", "vsd", "esd", "hifa", "sdi"),
    statements=(
        *better(SDI, SDS),
        *(NoWorse("similarity", SDI, name, SIMILAR) for name in ("sjc", "vsd", "esd", "hifa")),
    ),
)
HEADLINE = SceneStudy(
    name="sdi_against_sds",
    title="SDI compared with SDS in 3D",
    paper="sdi",
    figure="section 6.1, figures 1 (d, e), 2 and 24 to 27",
    claim="SDI's shapes match the text and the shape that it names better than those of SDS, and are sharper.",
    arms=lambda terms: methods(SDS, SDI),
    statements=better(SDI, SDS),
)
INTERVAL, FULL, CONDITIONED = "ism", "sdi, unconditional inversion", "sdi"
TABLE_2 = SceneStudy(
    name="sdi_table_2",
    title="Interval noise compared with full noise",
    paper="sdi",
    figure="table 2, figures 13 and 14",
    claim="With the full noise of a guided inversion, SDI has a higher quality than ISM, which takes the noise between "
    "two points of an unconditional inversion.",
    arms=lambda terms: {
        INTERVAL: {"method": "ism"},
        FULL: {"method": "sdi", "method.inversion_scale": 0.0},
        CONDITIONED: {"method": "sdi"},
    },
    statements=(*better(CONDITIONED, INTERVAL), NoWorse("similarity", CONDITIONED, FULL, SIMILAR)),
)
BASELINES = ("sds", "ssd", "csd", "nfsd", "vsd", "ism", "hifa")
BESIDE = SceneStudy(
    name="sdi_baselines",
    title="SDI compared with the methods of its qualitative figures",
    paper="sdi",
    figure="figures 7 and 28 to 30",
    claim="SDI's shapes are similar to or better than those of SDS, Stable Score Distillation, CSD, NFSD, VSD, ISM and "
    "HiFA.",
    arms=lambda terms: methods(*BASELINES, SDI),
    statements=(
        *(NoWorse("similarity", SDI, name, SIMILAR) for name in BASELINES),
        *(NoWorse("overlap", SDI, name, OVER) for name in BASELINES),
    ),
    remarks="Magic3D and Fantasia3D, which are in the figures too, are pipelines of several stages, and no methods.",
)
STEPS = ("SDS, scale 7.5", "+ resolution", "+ linear t", "+ inversion")


def improvements(terms: Terms) -> Mapping[str, Settings]:
    """From SDS to SDI, one change at a time."""
    low = {"method": "sds", "method.scale": terms.scale}
    annealed = {"method": "sdi", "method.noise_source": "random", "method.scale": terms.scale}
    return dict(
        zip(
            STEPS,
            ({**low, "resolution": 32}, low, annealed, {"method": "sdi", "method.scale": terms.scale}),
            strict=True,
        )
    )


FIGURE_8 = SceneStudy(
    name="sdi_figure_8",
    title="From SDS to SDI, one change at a time",
    paper="sdi",
    figure="figure 8",
    claim="Starting from SDS at scale 7.5, a higher resolution, linearly decreasing t and the inversion each improve "
    "the result; the inversion improves it most.",
    arms=improvements,
    statements=(
        *(Exceeds("similarity", after, before, SIMILAR) for before, after in itertools.pairwise(STEPS)),
        *(Exceeds("patch_distance", before, after, DETAIL) for before, after in itertools.pairwise(STEPS)),
    ),
)
SOURCES = ("random", "fixed", "fixed_point", "sgd", "inversion")
FIGURE_9 = SceneStudy(
    name="sdi_noise_sources",
    title="Noise sources of SDI in 3D: random, iterated or inverted",
    paper="sdi",
    figure="figure 9",
    claim="Of all noise sources, only the inversion gives shapes with details; fixed-point iteration diverges.",
    arms=lambda terms: {source: {"method": "sdi", "method.noise_source": source} for source in SOURCES},
    statements=(
        *(Exceeds("similarity", "inversion", source, SIMILAR) for source in SOURCES[:-1]),
        *(Exceeds("patch_distance", source, "inversion", DETAIL) for source in SOURCES[:-1]),
    ),
)
PAIRS = ((7.5, 7.5), (0.0, 0.0), (0.0, 7.5), (-7.5, 7.5))
NAMES = tuple(f"({up:g}, {down:g})" for up, down in PAIRS)
FIGURE_10 = SceneStudy(
    name="sdi_guidance_3d",
    title="Guidance of the inversion and of the denoising step in 3D",
    paper="sdi",
    figure="figure 10",
    claim="Negative guidance in the inversion, (-7.5, 7.5), gives the best shapes; 0 in the inversion over-saturates; "
    "equal guidance drifts.",
    arms=lambda terms: {
        name: {"method": "sdi", "method.inversion_scale": terms.here(up), "method.scale": terms.here(down)}
        for name, (up, down) in zip(NAMES, PAIRS, strict=True)
    },
    statements=(
        *(Exceeds("similarity", NAMES[-1], name, SIMILAR) for name in NAMES[:-1]),
        Exceeds("saturation", NAMES[2], NAMES[3], 0.02),
    ),
    remarks="Pairs are (inversion, denoising), in the paper's numbers.",
)
COUNTS = (3, 5, 10, 20)
FIGURE_11 = SceneStudy(
    name="sdi_steps_3d",
    title="How many steps the inversion needs in 3D",
    paper="sdi",
    figure="figure 11",
    claim="Quality grows with the number of inversion steps up to n = 10 and hardly beyond.",
    arms=lambda terms: {f"n = {n}": {"method": "sdi", "method.steps_per_unit": float(n)} for n in COUNTS},
    statements=(Exceeds("similarity", "n = 10", "n = 3", SIMILAR), NoWorse("similarity", "n = 10", "n = 20", SIMILAR)),
)
ALL = (HEADLINE, TABLE_1, TABLE_2, BESIDE, FIGURE_8, FIGURE_9, FIGURE_10, FIGURE_11)
