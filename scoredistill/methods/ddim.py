"""Sampling a prior by deterministic DDIM: what a distillation of it should look like.

x_T   unit noise, the image at t = 1   [B C h w]
"""

from __future__ import annotations

import itertools

import torch

from scoredistill.contracts import Conditions, Prior
from scoredistill.methods.distillation import X
from scoredistill.methods.guidance import guided_eps


def sample(prior: Prior, x_T: X, conditions: Conditions, *, scale: float, steps: int) -> X:
    """The sample that DDIM (Song et al. 2021, eq. 12 with eta = 0) draws from `x_T` in `steps` evaluations.

    x_s = move(x_t, eps_g(x_t, t), t, s) down t = 1, 1 - 1/steps, ..., 1/steps, and there the data prediction.
    `scale` is canonical guidance; the answer is in the prior's space. ValueError for less than one step.
    """
    if steps < 1:
        raise ValueError(f"DDIM needs at least one step, got {steps}")
    schedule = prior.schedule
    grid = torch.arange(steps, 0, -1, dtype=torch.float64) / steps
    times = [schedule.snap(t.expand(len(x_T))) for t in grid]
    x_t, eps = x_T, guided_eps(prior, x_T, times[0], conditions, scale)
    for t, s in itertools.pairwise(times):
        x_t = schedule.move(x_t, eps, t, s)
        eps = guided_eps(prior, x_t, s, conditions, scale)
    return schedule.clean(x_t, eps, times[-1])
