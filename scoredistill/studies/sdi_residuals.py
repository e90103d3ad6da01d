"""SDI's figure 9: how well each choice of noise solves eq. 8, and what comes of it."""

from __future__ import annotations

from scoredistill.studies.estimates import conclude, exceeds
from scoredistill.studies.images import row, side_by_side
from scoredistill.studies.residuals import AVERAGED, along, larger, plot, run_with_residuals, typical, within
from scoredistill.studies.study import Bench, Finding, Study

SOURCES = {
    "random": {"noise_source": "random"},
    "random, fixed": {"noise_source": "fixed"},
    "fixed point": {"noise_source": "fixed_point"},
    "SGD": {"noise_source": "sgd"},
    "inversion": {"noise_source": "inversion"},
}
OURS, BARE = "inversion", "inversion, H = 0"
REMARKS = (
    "The paper compares runs in 3D. A 2D image can follow fixed noise until its error vanishes, so errors are "
    "compared at the same images. Under guidance, fixed-point iteration contracts at low noise levels and diverges at "
    "high ones, where every run begins. H is the entropy term of eq. 11."
)


def run(bench: Bench) -> Finding:
    """Each noise at the images of one run of SDI, and each in a run of its own."""
    choices = {name: bench.terms.sdi(**source) for name, source in SOURCES.items()}
    times, errors = along(bench, choices[OURS], choices | {BARE: bench.terms.sdi(entropy=0.0)})
    own = {name: run_with_residuals(bench, method) for name, method in choices.items()}
    counted = {name: within(bench, times, values) for name, values in errors.items()}
    rows_and_values = {name: row(bench, name, made.x) for name, made in own.items()}
    similar = {name: values["similarity"] for name, (_, values) in rows_and_values.items()}
    others = [name for name in SOURCES if name != OURS]
    holds, because = conclude(
        *(larger(f"error of {name} exceeds {OURS}'s", counted[name], counted[OURS]) for name in others),
        *(
            exceeds(f"similarity of the run with {OURS} minus that with {name}", similar[OURS], similar[name])
            for name in others
        ),
    )
    rows = [
        rows_and_values[name][0]
        | {"R, same images": typical(counted[name]), "R, own run": typical(made.counted), "calls": made.calls}
        for name, made in own.items()
    ]
    rows.append({"": BARE, "R, same images": typical(counted[BARE])})
    return Finding(
        holds,
        because,
        rows=rows,
        sheets={"figure": side_by_side(bench, {name: made.x for name, made in own.items()})},
        plots={
            "R(t), every noise at the images of the run with inversion": plot(dict.fromkeys(errors, times), errors),
            "R(t), every noise in its own run": plot(
                {name: made.times for name, made in own.items()}, {name: made.errors for name, made in own.items()}
            ),
        },
        settings={name: str(source) for name, source in SOURCES.items()},
        remarks=f"{bench.terms.remarks} {AVERAGED} {REMARKS}",
    )


FIGURE_9 = Study(
    name="sdi_residuals",
    title="Which noise solves SDI's fixed-point equation",
    paper="sdi",
    figure="figure 9",
    claim="Random noise, fresh or fixed, leaves a large error in eq. 8; fixed-point iteration and gradient descent "
    "fail to reduce it; DDIM inversion approximates the solution reasonably well.",
    run=run,
    captions=3,
    seeds=2,
    steps=30,
)
