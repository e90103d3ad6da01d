"""SDI's figure 11: how many steps the inversion needs."""

from __future__ import annotations

from scoredistill.studies.estimates import conclude, gap
from scoredistill.studies.images import row, side_by_side
from scoredistill.studies.residuals import AVERAGED, plot, run_with_residuals, typical
from scoredistill.studies.study import Bench, Finding, Study

STEPS = (3, 5, 10, 20, 30)
FEW, ENOUGH, MANY = 3, 10, 30
PAPER = {3: 71, 5: 76, 10: 82, 20: 83, 30: 83}
"""CLIP-IQA's quality in the paper's figure, in percent."""


def run(bench: Bench) -> Finding:
    """A run of SDI with inversion in int(n t) steps, for each n."""
    names = {n: f"n = {n}" for n in STEPS}
    made = {n: run_with_residuals(bench, bench.terms.sdi(steps_per_unit=float(n))) for n in STEPS}
    rows, values = zip(*(row(bench, names[n], each.x) for n, each in made.items()), strict=True)
    quality = {n: measured["similarity"] for n, measured in zip(STEPS, values, strict=True)}
    gained, beyond = gap(quality[ENOUGH], quality[FEW]), gap(quality[MANY], quality[ENOUGH])
    holds, because = conclude(
        (gained.sign, f"similarity grows from n = {FEW} to {ENOUGH} by {gained.ends}"),
        (beyond.sign is not True or beyond.mean < gained.mean, f"from {ENOUGH} to {MANY} by no more: {beyond.ends}"),
    )
    return Finding(
        holds,
        because,
        rows=[
            line | {"R": typical(each.counted), "calls": each.calls, "paper's quality, %": PAPER[n]}
            for line, (n, each) in zip(rows, made.items(), strict=True)
        ],
        sheets={"figure": side_by_side(bench, {names[n]: each.x for n, each in made.items()})},
        plots={
            "R(t) of each run": plot(
                {names[n]: each.times for n, each in made.items()}, {names[n]: each.errors for n, each in made.items()}
            )
        },
        remarks=f"Calls: evaluations of the prior per update, the mean over the run. {AVERAGED} {bench.terms.remarks}",
    )


FIGURE_11 = Study(
    name="sdi_inversion_steps",
    title="How many steps the inversion needs",
    paper="sdi",
    figure="figure 11",
    claim="Quality grows with the number of inversion steps up to n = 10 (71, 76, 82 % at 3, 5, 10) and hardly beyond "
    "(83 % at 20 and 30), where only the time grows.",
    run=run,
    captions=3,
    seeds=2,
    steps=30,
)
