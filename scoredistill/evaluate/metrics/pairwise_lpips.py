"""Pairwise LPIPS: how different the results of several seeds of one prompt are to the eye."""

from __future__ import annotations

import math

from scoredistill.evaluate.metrics.metric import Metric

LPIPS = Metric(
    name="lpips",
    title="perceptual distance between the results of several seeds of one prompt, at the same camera",
    equation="mean over cameras and pairs of sum_l mean_hw w_l . (f_l(a) - f_l(b))^2, f_l unit features of AlexNet",
    source="Zhang et al. 2018, version 0.1; the DSD paper, table 2, which does not name the network",
    low=0,
    high=math.inf,
    higher_is_better=None,
    priors="all",
    validation="equals lpips 0.1.4 on random weights; noise raises it, so read it together with fid or clip-sim",
)
