"""DDIM samples of a prior: what a distillation of it should look like."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Prompt
from scoredistill.methods import ddim
from scoredistill.randomness import gaussian
from scoredistill.recipes.build import build_prior
from scoredistill.recipes.recipe import PriorConfig

RESOLUTION = 64  # pixels; a prior with another resolution resizes them


@torch.no_grad()
def samples(
    config: PriorConfig, prompt: Prompt, count: int, *, scale: float, steps: int, seed: int
) -> Float[Tensor, "N 3 H W"]:
    """`count` samples of the prior in [0, 1], by DDIM in `steps` evaluations at guidance `scale`."""
    prior = build_prior(config)
    conditions = prior.conditions(prompt, None, count)
    like = prior.encode(torch.zeros(count, 3, RESOLUTION, RESOLUTION, device=config.device))
    x_T = gaussian(like, torch.Generator().manual_seed(seed))
    x = ddim.sample(prior, x_T, conditions, scale=scale, steps=steps)
    return prior.decode(x).float().cpu().clamp(0, 1)
