"""What a run cost: its time and its memory."""

from __future__ import annotations

import math

from scoredistill.evaluate.metrics.metric import Metric

SECONDS = Metric(
    name="seconds",
    title="time of a run's steps, without loading and without writing the results",
    equation="sum over steps of their wall-clock time",
    source="column Time of table 1 of the SDI paper",
    low=0,
    high=math.inf,
    higher_is_better=False,
    priors="all",
    validation="depends on the machine and its load: compare runs made on the same machine without other load",
)
PEAK_MB = Metric(
    name="peak_mb",
    title="peak memory in MiB: allocated on the GPU if one is used, otherwise resident memory of the process",
    equation="max over time of the allocated memory",
    source="column VRAM of table 1 of the SDI paper",
    low=0,
    high=math.inf,
    higher_is_better=False,
    priors="all",
    validation="that of the process that finished the run; torch.cuda.max_memory_allocated or getrusage",
)
