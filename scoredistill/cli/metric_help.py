"""The metrics as the command line lists them."""

from __future__ import annotations

from scoredistill.cli.method_help import aligned
from scoredistill.evaluate.catalogue import METRICS
from scoredistill.evaluate.metrics.metric import Metric

BETTER = {True: "higher", False: "lower", None: "neither"}


def metrics_table() -> str:
    """Every metric with range, direction and priors; below it what it is, its equation, source and validation."""
    rows = [("metric", "range", "better", "priors"), *map(_row, METRICS.values())]
    head, *lines = aligned(rows)
    listed = [
        line + "".join(f"\n    {words}" for words in _about(metric))
        for line, metric in zip(lines, METRICS.values(), strict=True)
    ]
    return "\n".join([head, *listed, "", "priors: all, or toybox (embedded priors and files of Toybox weights)"])


def _row(metric: Metric) -> tuple[str, ...]:
    return metric.name, f"{metric.low:g} to {metric.high:g}", BETTER[metric.higher_is_better], metric.priors


def _about(metric: Metric) -> tuple[str, ...]:
    return metric.title, metric.equation, metric.source, f"validated: {metric.validation}"
