"""The error of a noise choice in eq. 8 of the SDI paper, and how it goes over a run.

R(t) = mean((sbar (kappa - eps_g(alpha x + sigma kappa, t)))^2) = mean((D - x)^2)

K moments of a run   C captions   S seeds   N = C S images
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Distilled, Method
from scoredistill.export.plot import Line, Plot
from scoredistill.studies.distill import image, in_prior_space, query, watch
from scoredistill.studies.estimates import Part, Summary, gap, over_seeds
from scoredistill.studies.evolution import moments
from scoredistill.studies.study import Bench, X

MOMENTS = 8  # of a run at which noise choices are compared
SPAN = 0.2, 0.8
"""The times that the paper's figures plot."""
AVERAGED = "R is the geometric mean over the times in the plot of the paper."
LEAST = 1e-12  # error whose logarithm can still be taken


@dataclass(frozen=True)
class Run:
    """The result of a distillation, and its error at every step."""

    x: X
    times: list[float]
    errors: Float[Tensor, "K C S"]
    counted: Float[Tensor, "k C S"]  # the errors at the times that the paper's figures plot
    calls: float  # evaluations of the prior per update


def run_with_residuals(bench: Bench, method: Method) -> Run:
    """Distill, and note R at every update."""
    scene, times, errors, before = image(bench), [], [], bench.prior.calls
    for step in watch(bench, scene, method):
        times.append(float(step.distilled.probe["t"][0]))
        errors.append(bench.fold(residual(step.distilled, step.x)))
    all_errors, calls = torch.stack(errors), (bench.prior.calls - before) / bench.steps
    return Run(in_prior_space(bench, scene), times, all_errors, within(bench, times, all_errors), calls)


def along(bench: Bench, path: Method, choices: Mapping[str, Method]) -> tuple[list[float], dict[str, Tensor]]:
    """R [K C S] of several methods' noise at the same images and times: those that `path` comes through."""
    wanted = moments(bench.steps, MOMENTS)
    times: list[float] = []
    errors: dict[str, list[Tensor]] = {name: [] for name in choices}
    for step in watch(bench, image(bench), path):
        if step.index not in wanted:
            continue
        times.append(float(step.distilled.probe["t"][0]))
        ask = replace(query(bench), progress=step.index / bench.steps)
        for name, method in choices.items():
            errors[name].append(bench.fold(residual(method(ask, step.x), step.x)))
    return times, {name: torch.stack(values) for name, values in errors.items()}


def residual(distilled: Distilled, x: X) -> Float[Tensor, "N"]:
    """R of each image."""
    return (distilled.probe["x0"] - x).square().flatten(1).mean(1)


def within(bench: Bench, times: Sequence[float], errors: Float[Tensor, "K C S"]) -> Float[Tensor, "k C S"]:
    """The errors at times in `SPAN`; all of a run so short that it has none there."""
    first, last = map(bench.terms.time, SPAN)
    inside = torch.tensor([first <= t <= last for t in times])
    return errors[inside] if bool(inside.any()) else errors


def magnitude(errors: Float[Tensor, "K C S"]) -> Float[Tensor, "C S"]:
    """log10 R, its mean over the run: errors span decades, and their plain mean would be that at large t alone."""
    return errors.clamp(min=LEAST).log10().mean(0)


def typical(errors: Float[Tensor, "K C S"]) -> Summary:
    """The geometric mean of R over the run."""
    return over_seeds(10 ** magnitude(errors))


def larger(what: str, one: Float[Tensor, "K C S"], other: Float[Tensor, "K C S"]) -> Part:
    """The part of a claim that one error exceeds another over the run; `what` names them both."""
    found = gap(magnitude(one), magnitude(other))
    return found.sign, f"{what} by a factor of {10**found.mean:.3g}"


def plot(times: Mapping[str, list[float]], errors: Mapping[str, Float[Tensor, "K C S"]]) -> Plot:
    """R over t, a line for each name."""
    lines = []
    for name, values in errors.items():
        estimates = [over_seeds(moment) for moment in values]
        means, spreads = [each["mean"] for each in estimates], [each["sd"] for each in estimates]
        lines.append(Line(name, times[name], means, spreads))  # type: ignore[arg-type] (a mean is a number)
    return Plot(lines, across="t")
