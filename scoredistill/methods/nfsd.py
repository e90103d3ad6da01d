"""NFSD, Noise-Free Score Distillation (Katzir et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from scoredistill.config import DiffusionTime, GuidanceScale
from scoredistill.contracts import Distilled, Query
from scoredistill.methods import timesteps
from scoredistill.methods.distillation import Noisy, Reduction, X, probe, reduced
from scoredistill.methods.guidance import guidance_direction, per_image
from scoredistill.methods.method import MethodConfig, Values
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.randomness import gaussian


@dataclass(frozen=True)
class NFSD(MethodConfig):
    """Noise-Free Score Distillation: grad = w(t) [delta_D + scale (eps_text - eps_empty)].

    delta_D = eps_empty for t < switch, and eps_empty - eps_negative above: at large t most of eps_empty is noise,
    and eps_negative contains the same noise. Katzir et al. 2024, who published no code; preset `paper` uses the
    scene of SDS.
    """

    scale: GuidanceScale = 7.5  # guidance scale of the direction eps_text - eps_empty
    t_min: DiffusionTime = 0.02  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    switch: DiffusionTime = 0.2  # smallest t at which the negative prompt's score is subtracted
    weight: Weight = "sigma_squared"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    TOYBOX: ClassVar[Values] = {"scale": 2.5}
    TOYBOX_IMAGE: ClassVar[Values] = {"descent": 20.0, "noise": 0.0}  # as CSD, of which it is the sum with noise
    gradient_norm: ClassVar[float] = 0.25
    negative_prompt: ClassVar[str] = (
        "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
    )

    citation: ClassVar[str] = """@inproceedings{katzir2024noise,
  title     = {Noise-Free Score Distillation},
  author    = {Katzir, Oren and Patashnik, Or and Cohen-Or, Daniel and Lischinski, Dani},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}"""

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        schedule, conditions = query.prior.schedule, query.conditions
        t = schedule.snap(timesteps.uniform(self.t_min, self.t_max)(query, len(x)))
        kappa = gaussian(x, query.rng)
        noisy = Noisy(x, t, t, kappa, schedule.diffuse(x, kappa, t))
        direction, empty, negative = guidance_direction(
            query.prior, noisy.x_t, t, conditions, conditions.empty, conditions.null
        )
        bracket = empty - per_image(t >= self.switch, empty) * negative + self.scale * direction
        grad = reduced(WEIGHTS[self.weight](schedule, t, x) * bracket, self.reduction)
        return Distilled(grad, probe=probe(query, noisy, bracket))
