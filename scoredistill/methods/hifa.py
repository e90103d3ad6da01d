"""HiFA: SDS with annealed time, a loss on pixels, and denoising in several steps (Zhu et al. 2024).

D       denoised image in the prior's space   [B C h w]
z       fresh noise, unit scale               [B C h w]
t, s    times of one step down, s < t         [B]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scoredistill.config import DiffusionTime, GuidanceScale, Iterations, NonNegative
from scoredistill.contracts import Distilled, Query
from scoredistill.methods import timesteps
from scoredistill.methods.distillation import Noisy, Reduction, Time, X, probe, reduced
from scoredistill.methods.guidance import guided_eps
from scoredistill.methods.method import MethodConfig, Values
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.randomness import gaussian


@dataclass(frozen=True)
class HiFA(MethodConfig):
    """HiFA: grad = w(t) [eps_g(x_t, t, y) - eps],  grad_rgb = image_weight w(t) [rgb - Dec(D)] / sbar(t).

    Zhu et al. 2024, settings of threestudio: t falls with the square root of progress. The image D denoised from
    x_t is compared with the render in both spaces, latents and pixels; its pixels are clamped to [0, 1], as
    threestudio's decoder does. `denoising_steps` > 1 follows the authors' own code (4 there). Differs from the
    paper: the z-variance loss is part of the scene.
    """

    scale: GuidanceScale = 101.0  # guidance scale, null + scale (text - null)
    t_min: DiffusionTime = 0.3  # diffusion time at the end of the run
    t_max: DiffusionTime = 0.98  # diffusion time at the start of the run
    image_weight: NonNegative = 0.01  # weight of the loss on pixels; 0 disables it
    denoising_steps: Iterations = 1  # largest number of evaluations of the prior per denoised image
    weight: Weight = "sigma_squared"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    TOYBOX: ClassVar[Values] = {"scale": 7.5}

    citation: ClassVar[str] = """@inproceedings{zhu2024hifa,
  title     = {HiFA: High-fidelity Text-to-3D Generation with Advanced Diffusion Guidance},
  author    = {Zhu, Junzhe and Zhuang, Peiye and Koyejo, Sanmi},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}"""

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        schedule, weight = query.prior.schedule, WEIGHTS[self.weight]
        falling = timesteps.annealed(self.t_max, self.t_min, math.sqrt)
        t = timesteps.with_noise(schedule, falling(query, len(x)))
        eps = gaussian(x, query.rng)
        noisy = Noisy(x, t, t, eps, schedule.diffuse(x, eps, t))
        predicted = self.predict(query, noisy.x_t, t)
        grad = reduced(weight(schedule, t, x) * (predicted - eps), self.reduction)
        shown = probe(query, noisy, predicted)
        grad_rgb = self.pixel_gradient(query, shown["x0"], t) if self.image_weight else None
        return Distilled(grad, grad_rgb, shown)

    def predict(self, query: Query, x_t: X, t: Time) -> X:
        """(x_t / alpha - D) / sbar, with D denoised by stochastic DDIM down t, t - 1/steps, ... > 0.

        kappa <- (sbar_s / sbar_t) eps_g + sqrt(1 - sbar_s^2 / sbar_t^2) z,  x_s = alpha_s D + sigma_s kappa
        (Song et al. 2021, eq. 12 and 16 with eta = 1). One step gives eps_g itself.
        """
        prior, schedule = query.prior, query.prior.schedule
        x_s, s = x_t, t
        eps = guided_eps(prior, x_s, s, query.conditions, self.scale)
        for step in range(1, self.denoising_steps):
            lower = schedule.snap(t - step / self.denoising_steps)
            if not bool((lower > 0).all()):
                break
            share = schedule.sbar(lower, x_s) / schedule.sbar(s, x_s)
            kappa = share * eps + (1 - share**2).sqrt() * gaussian(eps, query.rng)
            x_s, s = schedule.diffuse(schedule.clean(x_s, eps, s), kappa, lower), lower
            eps = guided_eps(prior, x_s, s, query.conditions, self.scale)
        return schedule.noise_between(schedule.clean(x_s, eps, s), x_t, t)

    def pixel_gradient(self, query: Query, x0: X, t: Time) -> Float[Tensor, "B 3 H W"]:
        """image_weight w(t) [rgb - Dec(D)] / sbar(t), Dec(D) clamped to [0, 1] and resized to the render.

        (x - D) / sbar = eps_g - eps, so with an identity decoder both gradients are the same where D is in [0, 1].
        ValueError for a query without a render.
        """
        if query.rgb is None:
            raise ValueError("the loss on pixels needs the render: give the query its rgb, or set image_weight 0")
        schedule, decoded = query.prior.schedule, query.prior.decode(x0).clamp(0, 1)
        if decoded.shape != query.rgb.shape:
            decoded = F.interpolate(decoded, query.rgb.shape[-2:], mode="bilinear", antialias=True)
        weight = self.image_weight * WEIGHTS[self.weight](schedule, t, decoded) / schedule.sbar(t, decoded)
        return reduced(weight * (query.rgb - decoded), self.reduction)
