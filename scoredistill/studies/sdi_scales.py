"""SDI's figure 3: what the guidance scale does to DDIM's samples from the same noise."""

from __future__ import annotations

from scoredistill.studies.distill import sampled
from scoredistill.studies.estimates import conclude, exceeds, over_seeds
from scoredistill.studies.images import pixels, row, side_by_side
from scoredistill.studies.quality import unlikeness
from scoredistill.studies.study import Bench, Finding, Study

PAPER = (1.0, 5.0, 10.0, 30.0, 100.0)
LOW, USUAL, HIGH = 1.0, 10.0, 100.0


def run(bench: Bench) -> Finding:
    """DDIM at every scale."""
    here = bench.terms.here
    names = {scale: f"{scale:g} (here {here(scale):.3g})" for scale in PAPER}
    made = {names[scale]: sampled(bench, here(scale)) for scale in PAPER}
    spread = {name: unlikeness(bench, bench.judge.image_features(pixels(bench, x))) for name, x in made.items()}
    rows, values = zip(*(row(bench, name, x) for name, x in made.items()), strict=True)
    measured = dict(zip(PAPER, values, strict=True))
    similar = {scale: each["similarity"] for scale, each in measured.items()}
    saturated = {scale: each["saturation"] for scale, each in measured.items()}
    holds, because = conclude(
        exceeds(f"similarity at the paper's scale {USUAL:g} minus that at {LOW:g}", similar[USUAL], similar[LOW]),
        exceeds(f"saturation at {HIGH:g} minus that at {USUAL:g}", saturated[HIGH], saturated[USUAL]),
        exceeds(f"diversity at {LOW:g} minus that at {HIGH:g}", spread[names[LOW]], spread[names[HIGH]]),
    )
    return Finding(
        holds,
        because,
        rows=[line | {"diversity": over_seeds(spread[line[""]])} for line in rows],
        sheets={"figure": side_by_side(bench, made)},
        settings={"scales": [here(scale) for scale in PAPER], "DDIM steps": bench.ddim_steps},
        remarks=f"{bench.terms.remarks} Diversity: mean of 1 - cosine between the judge's features of an image and "
        "of the caption's other seeds.",
    )


FIGURE_3 = Study(
    name="sdi_scales",
    title="The effect of the guidance scale on samples",
    paper="sdi",
    figure="figure 3",
    claim="At low guidance scales samples lack detail and ignore parts of the prompt; larger scales give high-quality "
    "samples at a cost of reduced diversity and, when very large, extreme over-saturation.",
    run=run,
    seeds=4,
)
