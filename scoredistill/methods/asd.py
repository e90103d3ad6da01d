"""ASD, Asynchronous Score Distillation (Ma et al. 2024, ScaleDreamer)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scoredistill.config import DiffusionTime, Fraction, GuidanceScale
from scoredistill.contracts import Learner
from scoredistill.methods import noise, timesteps
from scoredistill.methods.distillation import Distillation, Reduction
from scoredistill.methods.guidance import guided, guided_at_second_time
from scoredistill.methods.method import DistillationConfig, Values
from scoredistill.methods.weights import WEIGHTS, Weight


@dataclass(frozen=True)
class ASD(DistillationConfig):
    """Asynchronous Score Distillation: grad = w(t) [eps_g(x_t, t, y) - eps_c(x_r, r, y)],  r = t + delta (t - t_min) u.

    Ma et al. 2024, official code: u ~ U[0, 1), and both times use the same fresh noise. The range of t moves
    linearly from [t_min_start, t_max] to [t_min, t_max_late] over the run. The target uses the share `perp_neg` of
    the Perp-Neg weights, the reference none. r never exceeds the last time. The official code evaluates both times
    in one call of the prior; here they are two. Other differences in preset `paper`: Adam with a first beta of .9
    instead of AdamW with 0, and a background without a hash grid.
    """

    scale: GuidanceScale = 7.5  # guidance scale, null + scale (text - null)
    reference_scale: GuidanceScale = 1.0  # guidance scale of the reference
    delta: Fraction = 0.1  # largest distance r - t, in units of t - t_min
    perp_neg: Fraction = 0.5  # share of the Perp-Neg weights in the target
    t_min_start: DiffusionTime = 0.5  # smallest diffusion time at the start of the run
    t_min: DiffusionTime = 0.02  # smallest diffusion time at the end of the run
    t_max: DiffusionTime = 0.98  # largest diffusion time at the start of the run
    t_max_late: DiffusionTime = 0.5  # largest diffusion time at the end of the run
    weight: Weight = "sigma_squared"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    # A larger distance than the paper's: only 1 / sbar_t - 1 / sbar_r removes noise from free pixels.
    TOYBOX: ClassVar[Values] = {"scale": 2.5, "delta": 0.6}
    gradient_norm: ClassVar[float] = 0.15
    view_prompting: ClassVar[str] = "perp-neg"
    front_deg: ClassVar[float] = 30.0

    citation: ClassVar[str] = """@inproceedings{ma2024scaledreamer,
  title     = {ScaleDreamer: Scalable Text-to-3D Synthesis with Asynchronous Score Distillation},
  author    = {Ma, Zhiyuan and Wei, Yuxiang and Zhang, Yabin and Zhu, Xiangyu and Lei, Zhen and Zhang, Lei},
  booktitle = {European Conference on Computer Vision},
  year      = {2024}
}"""

    def build(self, learner: Learner | None = None) -> Distillation:
        low = timesteps.linear(self.t_min_start, self.t_min)
        return Distillation(
            time=timesteps.uniform(low, timesteps.linear(self.t_max, self.t_max_late)),
            second_time=timesteps.proportional(self.delta, low, random=True),
            noise=noise.fresh,
            target=guided(self.scale, self.perp_neg),
            reference=guided_at_second_time(self.reference_scale, perp_neg=0.0),
            weight=WEIGHTS[self.weight],
            reduction=self.reduction,
        )
