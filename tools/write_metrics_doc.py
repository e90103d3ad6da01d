"""Write docs/metrics.md: the metrics from their files, their weights, and what they were shown to measure.

python -m tools.write_metrics_doc
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scoredistill.cli.metric_help import BETTER, how
from scoredistill.evaluate.catalogue import METRICS
from scoredistill.evaluate.metrics.metric import Metric
from scoredistill.evaluate.part_meter import EMBEDDED
from scoredistill.runs.evaluation.metric_weights import ALEXNET, BERT, IMAGE_REWARD, INCEPTION, NEEDED, clip_weights
from scoredistill.runs.evaluation.protocol import PROTOCOLS
from tools.write_methods_doc import table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "metrics.md"
CACHE = Path("TORCH_HOME/hub/checkpoints")  # TORCH_HOME is ~/.cache/torch unless it is set
CARD = EMBEDDED.with_suffix(".md")
CURVES = ROOT / "benchmarks" / "results" / "metrics" / "curves.json"
PATCHES = CURVES.with_name("patches.json")

INTRODUCTION = """\
# Metrics

Written by `python -m tools.write_metrics_doc` from the metrics' files and [their
curves](../benchmarks/results/metrics/curves.md); do not edit by hand.

    scoredistill metrics                                            # the list, and whether the weights are installed
    scoredistill evaluate runs/a-red-car-sdi-0 runs/a-red-car-sdi-1 # what needs no weights; on Toybox, the judge's
    scoredistill evaluate runs/* --metric clip-score clip-iqa image-reward --protocol sdi
    scoredistill evaluate runs/* --metric lpips fid clip-sim --reference prior --protocol dsd

`evaluate` prints a table of the runs, the means of each method, and one row for each set of runs that differ only in
their seeds. `compare` takes the same flags. The column *priors* says where a metric is meaningful: *all*, or *toybox*,
which means the embedded priors and files of Toybox weights, whose toys the judge knows. For other priors the judge's
metrics are left out.
"""
SETS = """\
## Sets of runs

`lpips`, `diversity` and the four distances are computed for all results of a set: runs that differ only in their seeds.
A 3D scene is one result, seen by the cameras of the protocol; each image of a 2D run is one result. Pairwise metrics
compare results at the same camera and need two of them. Distances compare all views of a set with reference pictures:
either `--reference FOLDER`, whose pictures are taken as they are (transparent ones in front of white), or `--reference
prior`, as many DDIM samples of the runs' own prior for the prompt as there are views (30 evaluations, guidance scale
7.5; Toybox 4). Both need two pictures or more. FID depends on the number of pictures: compare equal counts only.
"""
VIEWS = """\
## The measured views

| protocol | views | |
|---|---|---|
"""
VIEWS_END = """
The papers do not state their cameras. `sdi` and `dsd` use those of the official code of both (threestudio's test
views): elevation 15 degrees, and the distance and field of view of its evaluations, which are 2.0 and 70 degrees for
SDI and DSD in the preset `paper`; 512 pixels; the learned background if the scene has one, otherwise the run's
background color. The number of views is that of the papers: 50 per prompt (SDI, section 6.1), and 100 renders of 10
shapes, so 10 of each (DSD, section 4.2). The official code has 120 azimuths, the last equal to the first; here they are
evenly spaced without a repetition. `quick` is what `generate` itself measures. Sharpness depends on the resolution, so
compare runs under one protocol only.
"""
WEIGHTS = """\
## Weights

`evaluate` and `compare` never download anything. Weights are read from `--weights FOLDER` (those of CLIP from `--clip
FOLDER`) or from the caches of the hub (`HF_HOME`) and of torch (`TORCH_HOME`); if they are missing, the error names the
command that downloads them. `HF_HUB_OFFLINE` therefore makes no difference. Pickled files are read by torch's
weights-only reader, which executes no code from them. The networks of CLIP and ImageReward need `pip install
"scoredistill[sd]"`.
"""
VALIDATION = """\
## Validation

True renders of Toybox were degraded step by step. A metric of quality must change in one direction at every step of the
degradation that it claims to measure, by more than two standard errors, paired by toy. For metrics with published
networks no weights were available; they were compared with their reference implementations on the same random weights,
to 1e-4, but not validated on renders.

![The metrics against six degradations](images/metrics.png)
"""


def document() -> str:
    """The whole page."""
    rows = [_row(metric) for metric in METRICS.values()]
    return "\n".join(
        [
            INTRODUCTION,
            table(("metric", "what", "range", "better", "priors", "measured"), rows),
            "## Equations and sources\n",
            table(("metric", "equation", "source", "validated"), [_about(metric) for metric in METRICS.values()]),
            SETS,
            VIEWS + "\n".join(f"| `{name}` | {each.views} | {each.about} |" for name, each in PROTOCOLS.items()),
            VIEWS_END,
            WEIGHTS,
            table(("metric", "files", "command"), _weights()),
            VALIDATION,
            _monotone(),
            _parts(),
            _details(),
        ]
    )


def _row(metric: Metric) -> tuple[str, ...]:
    limits = f"{metric.low:g} to {metric.high:g}"
    return f"`{metric.name}`", metric.title, limits, BETTER[metric.higher_is_better], metric.priors, f"`{how(metric)}`"


def _about(metric: Metric) -> tuple[str, ...]:
    return f"`{metric.name}`", f"`{metric.equation}`", metric.source, metric.validation


def _weights() -> list[tuple[str, str, str]]:
    rows = []
    for each in (clip_weights("clip"), IMAGE_REWARD, BERT, ALEXNET, INCEPTION):
        of = [name for name, weights in NEEDED.items() if each in weights]
        files = ", ".join((*each.files, *each.either[:1]))
        rows.append((", ".join(f"`{name}`" for name in of), files, f"`{each.fetching(CACHE)}`"))
    return rows


def _monotone() -> str:
    """The verdicts of the curves, of the metrics and of what was not chosen."""
    found = json.loads(CURVES.read_text())
    judged = [row for row in found["table"] if row["claims"]]
    names = ("metric", "claims", "monotone in it", "shown")
    rows = [tuple(row[name] for name in names) for row in judged]
    return table(names, rows) + "\n" + TWINS


def _parts() -> str:
    """The tables of the part meter's card."""
    found = CARD.read_text()
    return PARTS + found[found.index("By part") : found.index("**Limits.**")].rstrip() + "\n"


def _details() -> str:
    """What the patch distance makes of degraded true renders."""
    rows = json.loads(PATCHES.read_text())["rows"]
    cells = [
        (row["views"], f"{row['patch distance']:.2f}", "" if row["raised in"] is None else f"{row['raised in']:.0%}")
        for row in rows
    ]
    return DETAILS + table(("views", "patch distance", "raised in"), cells)


PARTS = """\
## Faces

`face_right`, `face_behind` and `parts_right` come from the part meter, a network that learned from the renderer which
parts are visible ([model card](../scoredistill/weights/toybox-parts.md)); prompts of other kinds have no values.
Compare them with true renders from the same cameras, because the part meter misses some of the visible faces. On
held-out toys:

"""
DETAILS = """\
## Details

`similarity` takes next to no notice of small parts: it hardly falls with blur. The patch distance of the studies in 3D
compares the details of a result with those of true toys of its prompt, wherever they are. What it makes of a true toy,
as it is and degraded, compared with eight others of the same caption (means over captions; "raised in" is the share of
captions in which it exceeds that of the intact toy):

"""
TWINS = """\
The twins of CLIP-IQA are its counterparts in the judge's features: the softmax between the mean features of intact and
of degraded renders. They are not offered as metrics. Those of quality and of realism are not monotone. That of
sharpness falls with blur (from .553 to .498), but saturation moves it four times as far (.404 to .648) and noise raises
it; `sharpness` ranks blur without the judge and is not affected by saturation. Without CLIP's weights there is no
metric of quality or realism.
"""


if __name__ == "__main__":
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.write_text(document())
    print(page)
