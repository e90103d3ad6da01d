"""SSD, Stable Score Distillation (Tang et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.config import DiffusionTime
from scoredistill.contracts import Distilled, Query
from scoredistill.methods import timesteps
from scoredistill.methods.distillation import Noisy, Reduction, X, probe, reduced
from scoredistill.methods.guidance import guidance_direction, per_image, perpendicular
from scoredistill.methods.method import MethodConfig, Values
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.randomness import gaussian

LEAST = 1e-12
"""Least norm that a term is divided by."""


@dataclass(frozen=True)
class SSD(MethodConfig):
    """Stable Score Distillation: grad = w(t) h for t > switch, else w(t) |h| v / |v|,  h = eps_text - eps_null.

    Tang et al. 2023: SDS consists of a mode-disengaging term h, a mode-seeking term eps_text and a
    variance-reducing term -eps. At large t the first acts alone. At small t the second does, scaled to the length
    of the first and with the noise projected out of it: v = eps_text - c eps, c = <eps_text, eps> / <eps, eps>. The
    rule and the default of `switch` are those of a public implementation (PGC-3D). That implementation divides by
    |eps| in c and takes the product over the whole batch; ours is the projection of each image, the value of c that
    removes the most of eps. The paper's text was not available, so weight and times are those of SDS, and preset
    `paper` uses the scene of SDI.
    """

    switch: DiffusionTime = 0.1  # largest t of the mode-seeking term; above it the mode-disengaging term acts
    t_min: DiffusionTime = 0.02  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    weight: Weight = "sigma_squared"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    # The mode-seeking term removes noise from free pixels, the other burns it in: so the first acts at most times.
    TOYBOX: ClassVar[Values] = {"switch": 0.6}
    gradient_norm: ClassVar[float] = 0.06

    citation: ClassVar[str] = """@article{tang2023stable,
  title     = {Stable Score Distillation for High-Quality 3D Generation},
  author    = {Tang, Boshi and Wang, Jianan and Wu, Zhiyong and Zhang, Lei},
  journal   = {arXiv preprint arXiv:2312.09305},
  year      = {2023}
}"""

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        schedule, conditions = query.prior.schedule, query.conditions
        t = schedule.snap(timesteps.uniform(self.t_min, self.t_max)(query, len(x)))
        eps = gaussian(x, query.rng)
        noisy = Noisy(x, t, t, eps, schedule.diffuse(x, eps, t))
        disengaging, null = guidance_direction(query.prior, noisy.x_t, t, conditions, conditions.null)
        seeking = perpendicular(null + disengaging, eps)
        length = norm(disengaging) / norm(seeking).clamp(min=LEAST)
        early = per_image(t > self.switch, x)
        bracket = early * disengaging + (1 - early) * per_image(length, x) * seeking
        grad = reduced(WEIGHTS[self.weight](schedule, t, x) * bracket, self.reduction)
        return Distilled(grad, probe=probe(query, noisy, null + disengaging))


def norm(images: X) -> Float[Tensor, "B"]:
    """The norm of each image."""
    return images.flatten(1).norm(dim=1)
