"""The metrics as the command line lists them."""

from __future__ import annotations

from scoredistill.cli.method_help import aligned
from scoredistill.evaluate.catalogue import METRICS
from scoredistill.evaluate.metrics.metric import Metric
from scoredistill.runs.evaluation.measures import DISTANCES, NAMES
from scoredistill.runs.evaluation.metric_weights import NEEDED, missing

BETTER = {True: "higher", False: "lower", None: "neither"}
NOTES = (
    "priors: all, or toybox (embedded priors and files of Toybox weights)",
    "weights: none (not needed), embedded, cached or missing; evaluate and compare download nothing",
)

STUDIED = ("patch_distance",)
"""Measured in studies in 3D only, which know the true toys."""


def metrics_table() -> str:
    """Every metric with range, direction, priors and weights; below it what it is, its equation and its sources."""
    rows = [("metric", "range", "better", "priors", "weights"), *map(_row, METRICS.values())]
    head, *lines = aligned(rows)
    listed = [
        line + "".join(f"\n    {words}" for words in _about(metric))
        for line, metric in zip(lines, METRICS.values(), strict=True)
    ]
    return "\n".join([head, *listed, "", *NOTES])


def weights(metric: Metric) -> str:
    """Where the weights of a metric are: embedded (or none needed), cached, or missing."""
    if metric.name not in NEEDED:
        return "embedded" if metric.priors == "toybox" else "none"
    return "missing" if missing(metric.name) else "cached"


def how(metric: Metric) -> str:
    """What to type for a metric."""
    if metric.name in STUDIED:
        return "scoredistill study"
    if metric.name not in NAMES:
        return "always"
    return f"--metric {metric.name}" + (" --reference FOLDER" if metric.name in DISTANCES else "")


def _row(metric: Metric) -> tuple[str, ...]:
    limits = f"{metric.low:g} to {metric.high:g}"
    return metric.name, limits, BETTER[metric.higher_is_better], metric.priors, weights(metric)


def _about(metric: Metric) -> tuple[str, ...]:
    lines = metric.title, metric.equation, metric.source, f"validated: {metric.validation}", f"measured: {how(metric)}"
    commands = [f"weights: {command}" for command in missing(metric.name)]
    return (*lines, *commands)
