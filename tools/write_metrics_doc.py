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

INTRODUCTION = """\
# Metrics

Written by `python -m tools.write_metrics_doc` from the metrics' files and [their
curves](../benchmarks/results/metrics/curves.md); do not edit by hand.

    scoredistill metrics                                            # the list, and whether the weights are at hand
    scoredistill evaluate runs/a-red-car-sdi-0 runs/a-red-car-sdi-1 # what needs no weights, and the judge's on Toybox
    scoredistill evaluate runs/* --metric clip-score clip-iqa image-reward --protocol sdi
    scoredistill evaluate runs/* --metric lpips fid clip-sim --reference prior --protocol dsd

`evaluate` prints a table of the runs, the means of each method, and one row for each set of runs that differ in their
seeds only. `compare` takes the same flags. Priors: *all*, or *toybox*, for the embedded priors and files of Toybox
weights, whose toys the judge knows. On other priors the judge is silent.
"""
SETS = """\
## Sets of runs

`lpips`, `diversity` and the four distances are of all results of a set: runs with the same settings but for the
seeds. A 3D scene is one result, seen by the cameras of the protocol; each image of a flat scene is one result.
Pairwise metrics compare results at the same camera and need two of them. Distances compare all views of a set to
reference pictures: `--reference FOLDER`, its pictures as they are (transparent ones before white), or `--reference
prior`, as many DDIM samples of the runs' own prior for the prompt as there are views (30 evaluations, guidance 7.5;
Toybox 4). Both need two or more. FID depends on the number of pictures: compare equal counts only.
"""
VIEWS = """\
## The measured views

| protocol | views | |
|---|---|---|
"""
VIEWS_END = """
The papers do not print their cameras. `sdi` and `dsd` take those of the official code of both (threestudio's test
views): elevation 15, distance and field of view of its evaluations, which are 2.0 and 70 degrees for SDI and DSD in
the preset `paper`, 512 pixels, before the learned background where the scene has one, else before the run's
background color. The number of views is the papers': 50 a prompt (SDI, section 6.1), and 100 renders of 10 shapes
(DSD, section 4.2), so 10 of each. The official azimuths are 120 with the first one twice; these are even around
without. `quick` is what `generate` itself measures; sharpness counts pixels, so compare runs under one protocol only.
"""
WEIGHTS = """\
## Weights

Nothing is downloaded by `evaluate` and `compare`: weights are taken from `--weights FOLDER` (of CLIP from `--clip
FOLDER`) or from the caches of the hub (`HF_HOME`) and of torch (`TORCH_HOME`), and where they are missing the error
names the command that fetches them. So `HF_HUB_OFFLINE` changes nothing. Pickled files are read by torch's
weights-only reader, which runs no code of theirs. The networks of CLIP and ImageReward need `pip install
"scoredistill[sd]"`.
"""
VALIDATION = """\
## What they were shown to measure

True renders of Toybox were degraded step by step; a metric of quality must change in one direction at every step of
the degradation that it claims to measure, beyond two standard errors, paired by toy. Published metrics have no
weights here: they were compared with their reference implementations on the same random weights, to 1e-4, and not
with renders.

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


PARTS = """\
## Faces

`face_right`, `face_behind` and `parts_right` are of a network that learned from the renderer which parts are visible
([its card](../scoredistill/weights/toybox-parts.md)); on prompts of other kinds they are absent. Compare them with true
renders from the same cameras: of the views that show a face the meter misses some. On held-out toys:

"""
TWINS = """\
The twins of CLIP-IQA in the judge's features (the softmax between the mean features of intact and of degraded
renders) are not shown as metrics. That of quality and that of realism are not monotone. That of sharpness falls with
blur (from .553 to .498), but saturation moves it four times as far (.404 to .648) and noise raises it; `sharpness`
ranks blur without the judge and is unmoved by saturation. Without CLIP's weights there is no metric of quality or
realism.
"""


if __name__ == "__main__":
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    page.write_text(document())
    print(page)
