"""CSD, Classifier Score Distillation (Yu et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from scoredistill.config import DiffusionTime, Fraction, NonNegative
from scoredistill.contracts import Distilled, Query
from scoredistill.methods import timesteps
from scoredistill.methods.distillation import Noisy, Reduction, X, probe, reduced
from scoredistill.methods.guidance import guidance_direction, with_perp_neg
from scoredistill.methods.method import MethodConfig, Values, carried_time
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.randomness import gaussian


@dataclass(frozen=True)
class CSD(MethodConfig):
    """Classifier Score Distillation: grad = w(t) [eps_text - n eps_negative - (1 - n) eps_empty].

    Yu et al. 2024, first stage of the official code: n grows from 0 to `negative_share` over the first `ramp` of
    the run, after which t stays below `t_max_late`. The coefficients sum to zero. Without a negative prompt this is
    the score of the implicit classifier, eps_text - eps_empty. Perp-Neg's directions are relative to eps_negative
    instead of eps_empty. The official code divides the gradient by its norm (reduction `unit_norm`). Preset `paper`
    is its csd-if.yaml, except that it takes any prior instead of DeepFloyd IF, and that the cameras of the first
    tenth of the run are not only front and back.
    """

    negative_share: Fraction = 1.0  # share of the negative prompt in the subtracted score, after the ramp
    ramp: Fraction = 0.5  # share of the run until negative_share is reached and t_max_late applies
    perp_neg_factor: NonNegative = 3.0  # factor on the Perp-Neg weights
    t_min: DiffusionTime = 0.02  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    t_max_late: DiffusionTime = 0.5  # largest diffusion time late in the run
    weight: Weight = "constant"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    OFFICIAL: ClassVar[Values] = {"reduction": "unit_norm"}
    # CSD has no term that removes noise from free pixels, so Toybox runs avoid low t.
    TOYBOX: ClassVar[Values] = {
        "t_min": carried_time(0.35),
        "t_max": carried_time(0.98),
        "t_max_late": carried_time(0.7),
    }
    # The gradient on the background is small and random in sign: Adam would step as far there, and dither it.
    TOYBOX_IMAGE: ClassVar[Values] = {"descent": 30.0, "noise": 0.0}
    gradient_norm: ClassVar[float] = 0.15
    view_prompting: ClassVar[str] = "perp-neg"
    front_deg: ClassVar[float] = 30.0
    negative_prompt: ClassVar[str] = "oversaturated color, ugly, tiling, low quality, noisy"

    citation: ClassVar[str] = """@inproceedings{yu2024text,
  title     = {Text-to-3D with Classifier Score Distillation},
  author    = {Yu, Xin and Guo, Yuan-Chen and Li, Yangguang and Liang, Ding and Zhang, Song-Hai and Qi, Xiaojuan},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}"""

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        schedule, conditions = query.prior.schedule, query.conditions
        t_max = timesteps.step_at(self.t_max, self.t_max_late, self.ramp)
        t = schedule.snap(timesteps.uniform(self.t_min, t_max)(query, len(x)))
        kappa = gaussian(x, query.rng)
        noisy = Noisy(x, t, t, kappa, schedule.diffuse(x, kappa, t))
        n = timesteps.at_progress(timesteps.linear(0.0, self.negative_share, self.ramp), query.progress)
        unused = n == 0 and not conditions.perpendicular
        free = conditions.empty if unused else conditions.null, conditions.empty
        conditions = with_perp_neg(conditions, self.perp_neg_factor)
        direction, negative, empty = guidance_direction(query.prior, noisy.x_t, t, conditions, *free)
        bracket = direction + (1 - n) * (negative - empty)
        grad = reduced(WEIGHTS[self.weight](schedule, t, x) * bracket, self.reduction)
        return Distilled(grad, probe=probe(query, noisy, bracket))
