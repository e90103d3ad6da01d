"""SJC, Score Jacobian Chaining (Wang et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scoredistill.config import DiffusionTime, GuidanceScale
from scoredistill.contracts import Learner
from scoredistill.methods import noise, timesteps
from scoredistill.methods.distillation import Distillation, Reduction, injected_noise
from scoredistill.methods.guidance import guided
from scoredistill.methods.method import DistillationConfig, Values
from scoredistill.methods.weights import WEIGHTS, Weight


@dataclass(frozen=True)
class SJC(DistillationConfig):
    """Score Jacobian Chaining: grad = -[D(x + sbar eps) - x] / sbar = eps_g(x_t, t, y) - eps,  eps ~ N(0, I).

    Wang et al. 2023 (SJC), the variance-reduced form of the official code: SDS with w = 1. `scale` is that of
    threestudio, converted to the definition of this package; the paper's own is 100. Differs from the official code
    in preset `paper`: the scene is the NeRF of SDS, without lighting and with its losses, instead of a voxel grid
    of latents with an emptiness loss, and the optimizer is Adam instead of Adamax.
    """

    scale: GuidanceScale = 101.0  # guidance scale, null + scale (text - null)
    t_min: DiffusionTime = 0.01  # smallest diffusion time
    t_max: DiffusionTime = 0.97  # largest diffusion time
    weight: Weight = "constant"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    TOYBOX: ClassVar[Values] = {"scale": 7.5}
    view_prompting: ClassVar[str] = "prefix"

    citation: ClassVar[str] = """@inproceedings{wang2023score,
  title     = {Score Jacobian Chaining: Lifting Pretrained 2D Diffusion Models for 3D Generation},
  author    = {Wang, Haochen and Du, Xiaodan and Li, Jiahao and Yeh, Raymond A. and Shakhnarovich, Greg},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {12619--12629},
  year      = {2023}
}"""

    def build(self, learner: Learner | None = None) -> Distillation:
        return Distillation(
            time=timesteps.uniform(self.t_min, self.t_max),
            noise=noise.fresh,
            target=guided(self.scale),
            reference=injected_noise,
            weight=WEIGHTS[self.weight],
            reduction=self.reduction,
        )
