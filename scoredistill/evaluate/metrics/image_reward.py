"""ImageReward: human preference of views for the prompt, by the published network."""

from __future__ import annotations

import math

from scoredistill.evaluate.metrics.metric import Metric

IMAGE_REWARD = Metric(
    name="image-reward",
    title="human preference for the views given the prompt, predicted by a published network",
    equation="mean (reward(image, prompt) - 0.16717) / 1.03334",
    source="Xu et al. 2023, as in the SDI paper (table 1)",
    low=-math.inf,
    high=math.inf,
    higher_is_better=True,
    priors="all",
    validation="equals the authors' arithmetic on random weights; not validated on renders (no weights available)",
)
