"""What a run cost: its time and its memory."""

from __future__ import annotations

import math

from scoredistill.evaluate.metrics.metric import Metric

SECONDS = Metric(
    name="seconds",
    title="time that the steps of a run took, without loading and without its results",
    equation="sum over steps of their wall-clock time",
    source="column Time of table 1 of the SDI paper",
    low=0,
    high=math.inf,
    higher_is_better=False,
    priors="all",
    validation="of one machine and its load: compare runs made alone on the same one",
)
PEAK_MB = Metric(
    name="peak_mb",
    title="largest memory in MiB: allocated on the GPU where one is used, else resident of the whole process",
    equation="max over time of the allocated memory",
    source="column VRAM of table 1 of the SDI paper",
    low=0,
    high=math.inf,
    higher_is_better=False,
    priors="all",
    validation="of the process that finished the run; torch.cuda.max_memory_allocated, or getrusage",
)
