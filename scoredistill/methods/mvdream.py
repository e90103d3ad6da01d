"""MVDream's distillation: regression onto a denoised image whose contrast is rescaled (Shi et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scoredistill.config import DiffusionTime, Fraction, GuidanceScale
from scoredistill.contracts import Distilled, Query
from scoredistill.methods import timesteps
from scoredistill.methods.distillation import Noisy, Reduction, X, probe, reduced
from scoredistill.methods.guidance import guidance_direction, per_image
from scoredistill.methods.method import MethodConfig, Values
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.randomness import gaussian


@dataclass(frozen=True)
class MVDream(MethodConfig):
    """MVDream: grad = w(t) / sbar [x - D'],  D' = D_g [1 - rescale + rescale std(D_c) / std(D_g)].

    Shi et al. 2024, settings of threestudio: regression of x, noised as in SDS, to its own denoised image, whose
    contrast under guidance is moved back towards that without guidance. t is uniform in a range that moves from
    [t_min_start, t_max] to [t_min, t_max_late] over the first `warm` of the run. With `rescale` 0 this is SDS with
    w = sbar. It works with any prior; views that are denoised jointly share one t and one contrast. The prompt has
    no view words, since the cameras are inputs of the network. Differs from the official code: Adam instead of
    AdamW.
    """

    scale: GuidanceScale = 50.0  # guidance scale, null + scale (text - null)
    rescale: Fraction = 0.5  # CFG rescale factor phi: how far the contrast is moved back to that without guidance
    t_min_start: DiffusionTime = 0.98  # smallest diffusion time at the start of the run
    t_min: DiffusionTime = 0.02  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    t_max_late: DiffusionTime = 0.5  # largest diffusion time late in the run
    warm: Fraction = 0.8  # share of the run until the range of t reaches its late values
    weight: Weight = "sbar"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    TOYBOX: ClassVar[Values] = {"scale": 7.5}
    negative_prompt: ClassVar[str] = (
        "ugly, bad anatomy, blurry, pixelated obscure, unnatural colors, poor lighting, dull, and unclear, cropped, "
        "lowres, low quality, artifacts, duplicate, morbid, mutilated, poorly drawn face, deformed, dehydrated, bad "
        "proportions"
    )

    citation: ClassVar[str] = """@inproceedings{shi2024mvdream,
  title     = {MVDream: Multi-view Diffusion for 3D Generation},
  author    = {Shi, Yichun and Wang, Peng and Ye, Jianglong and Mai, Long and Li, Kejie and Yang, Xiao},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}"""

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        schedule = query.prior.schedule
        t_min = timesteps.linear(self.t_min_start, self.t_min, self.warm)
        t_max = timesteps.linear(self.t_max, self.t_max_late, self.warm)
        t = timesteps.with_noise(schedule, timesteps.uniform(t_min, t_max)(query, len(x)))
        eps = gaussian(x, query.rng)
        noisy = Noisy(x, t, t, eps, schedule.diffuse(x, eps, t))
        predicted = schedule.noise_between(self.denoise(query, noisy), noisy.x_t, t)  # of which D' is the image
        grad = reduced(WEIGHTS[self.weight](schedule, t, x) * (predicted - eps), self.reduction)
        return Distilled(grad, probe=probe(query, noisy, predicted))

    def denoise(self, query: Query, noisy: Noisy) -> X:
        """D' from D_g and D_c, denoised with and without guidance; deviations are over jointly denoised views."""
        schedule, views, x_t, t = query.prior.schedule, query.prior.views, noisy.x_t, noisy.t
        direction, null = guidance_direction(query.prior, x_t, t, query.conditions, query.conditions.null)
        plain = schedule.clean(x_t, null + direction, t)
        guided = schedule.clean(x_t, null + self.scale * direction, t)

        def contrast(images: X) -> Tensor:
            return per_image(images.reshape(-1, views * images[0].numel()).std(1), images)

        factor = (1 - self.rescale + self.rescale * contrast(plain) / contrast(guided)).repeat_interleave(views, 0)
        return guided * factor
