"""What the judge of Toybox recognizes in the views of a run; `evaluate.report` counts it."""

from __future__ import annotations

from functools import partial

from scoredistill.evaluate.metrics.metric import Metric

_recognized = partial(
    Metric,
    source="zero-shot recognition of Radford et al. 2021 by a network trained on renders of Toybox (evaluate/judge.py)",
    low=0,
    high=1,
    higher_is_better=True,
    priors="toybox",
)

SIMILARITY = Metric(
    name="similarity",
    title="mean cosine similarity between the judge's features of the views and of the prompt",
    equation="mean cos(image, prompt)",
    source="CLIP-SIM of the DSD paper, in the judge's space",
    low=-1,
    high=1,
    higher_is_better=True,
    priors="toybox",
    validation="falls with every quarter of a wrong kind, and of a wrong color except the last; not sensitive to blur",
)
KIND_RIGHT = _recognized(
    name="kind_right",
    title="share of views in which the kind of the prompt is the most probable",
    equation="mean(argmax_k p(k | image) = kind)",
    validation="falls between one and three quarters of a wrong kind, like a threshold; not sensitive to blur",
)
COLOR_RIGHT = _recognized(
    name="color_right",
    title="share of views in which the color of the prompt is the most probable",
    equation="mean(argmax_c p(c | image) = color)",
    validation="falls with every quarter of a wrong color except for the last, like a threshold; not sensitive to blur",
)
VIEW_RIGHT = _recognized(
    name="view_right",
    title="share of views whose direction (front, side, back, top) is recognized",
    equation="mean(argmax_v p(v | image) = view)",
    validation="recognition of true renders: weights/toybox-judge.md",
)
