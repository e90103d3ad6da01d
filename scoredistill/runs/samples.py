"""DDIM samples of a prior: what a distillation of it should look like."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.contracts import Prompt, finite
from scoredistill.methods import ddim
from scoredistill.randomness import gaussian
from scoredistill.recipes.build import build_prior
from scoredistill.recipes.recipe import PriorConfig

RESOLUTION = 64  # pixels; a prior with another resolution resizes them
PORTION = 16  # samples drawn at a time, which bounds the memory


@torch.no_grad()
def samples(
    config: PriorConfig, prompt: Prompt, count: int, *, scale: float, steps: int, seed: int
) -> Float[Tensor, "N 3 H W"]:
    """`count` samples of the prior in [0, 1], by DDIM in `steps` evaluations at guidance `scale`.

    The prompt has one text. FloatingPointError if the samples are not finite.
    """
    prior = build_prior(config)
    like = prior.encode(torch.zeros(1, 3, RESOLUTION, RESOLUTION, device=config.device))
    noise = gaussian(like.expand(count, *like.shape[1:]), torch.Generator().manual_seed(seed))
    parts = []
    for x_T in noise.split(max(PORTION // prior.views, 1) * prior.views):
        conditions = prior.conditions(prompt, None, len(x_T))
        x = ddim.sample(prior, x_T, conditions, scale=scale, steps=steps)
        finite(f"the sample of prior {config.name}", [x])
        parts.append(prior.decode(x).float().cpu().clamp(0, 1))
    return torch.cat(parts)
