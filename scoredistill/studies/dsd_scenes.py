"""The tables and figures of the DSD paper in 3D."""

from __future__ import annotations

from functools import partial

from scoredistill.studies.pictured import against_the_pictured, pictures
from scoredistill.studies.scene_study import Exceeds, NoWorse, SceneStudy
from scoredistill.studies.sdi_scenes import NEAR, OVER, SHARP, SIMILAR, methods

PAPER_SIZE = 15, 10  # prompts and seeds; the prompts are not listed: the first of SDI's
_of_dsd = partial(SceneStudy, paper="dsd", protocol="dsd", paper_size=PAPER_SIZE)
DIVERSE = 0.02  # least difference of diversity worth seeing
HEADLINE = _of_dsd(
    name="dsd_against_sds",
    title="DSD compared with SDS and SDI in 3D",
    figure="section 4.2, figures 1 and 5",
    claim="DSD's shapes for one caption differ more from seed to seed than those of SDS and SDI, and match the text "
    "and the shape that it names as well.",
    arms=lambda terms: methods("dsd", "sds", "sdi"),
    statements=tuple(
        statement
        for rival in ("sds", "sdi")
        for statement in (
            Exceeds("diversity", "dsd", rival, DIVERSE),
            NoWorse("similarity", "dsd", rival, SIMILAR),
            NoWorse("overlap", "dsd", rival, OVER),
        )
    ),
)
RIVALS = ("sds", "hifa", "sdi", "consistent3d", "vsd", "asd")
TABLE_2 = _of_dsd(
    name="dsd_table_2",
    title="The diversity of DSD in 3D, at equal fidelity",
    figure="tables 1 and 2, figures 1, 5 and 10",
    claim="DSD's shapes for one caption differ more from seed to seed than those of the other methods, and match the "
    "text as well as the best of them.",
    arms=lambda terms: methods("dsd", *RIVALS),
    statements=(
        *(Exceeds("diversity", "dsd", rival, DIVERSE) for rival in RIVALS),
        *(NoWorse("similarity", "dsd", rival, SIMILAR) for rival in RIVALS),
    ),
)
SOURCES = ("ode", "random", "fixed")
TABLE_3 = _of_dsd(
    name="dsd_table_3",
    title="DSD in 3D with random, fixed and ODE noise",
    figure="table 3 and figure 6",
    claim="Noise from the asset's ODE gives more diverse and more faithful results than fresh noise (as in ASD) and "
    "than the fixed noise itself (as in Consistent3D).",
    arms=lambda terms: {f"{source} noise": {"method": "dsd", "method.noise_source": source} for source in SOURCES},
    statements=(
        *(Exceeds("diversity", "ode noise", f"{source} noise", DIVERSE) for source in SOURCES[1:]),
        *(Exceeds("similarity", "ode noise", f"{source} noise", SIMILAR) for source in SOURCES[1:]),
    ),
)
DECIBELS = 1.0  # by which a view may be farther from the picture
FIGURE_7 = _of_dsd(
    name="dsd_figure_7",
    title="Single view to 3D with DSD and SDS",
    figure="figure 7",
    claim="From one picture, DSD reconstructs the object in more detail than SDS, the method of Zero-1-to-3 itself, "
    "and with diverse interpretations of the geometry, whereas SDS has only one.",
    arms=lambda terms: methods("dsd", "sds"),
    statements=(
        Exceeds("diversity", "dsd", "sds", DIVERSE),
        Exceeds("sharpness", "dsd", "sds", SHARP),
        NoWorse("picture_psnr", "dsd", "sds", DECIBELS),
        NoWorse("chamfer", "sds", "dsd", NEAR),
    ),
    prior="toybox-pose",
    inputs=pictures,
    further=against_the_pictured,
    remarks="The pictures are renders of true toys, one of each caption, from 25 degrees beside the front and 15 above "
    "it. Columns true_ compare with that very toy, columns behind_ with its true views from 90 to 270 degrees round "
    "from the picture; chamfer, normals, overlap and volume, as everywhere, with the nearest toy of the caption: a "
    "shape that differs from the true one where the picture does not show it may be as good a reading of it.",
)
FIGURE_8 = _of_dsd(
    name="dsd_figure_8",
    title="DSD and SDS on a multi-view prior",
    figure="figure 8",
    claim="On a multi-view prior DSD is more diverse than SDS at equal fidelity.",
    arms=lambda terms: methods("dsd", "sds"),
    statements=(Exceeds("diversity", "dsd", "sds", DIVERSE), NoWorse("similarity", "dsd", "sds", SIMILAR)),
)
ALL = (HEADLINE, TABLE_2, TABLE_3, FIGURE_7, FIGURE_8)
