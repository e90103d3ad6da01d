"""SDS, Score Distillation Sampling (Poole et al. 2023, DreamFusion)."""

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
class SDS(DistillationConfig):
    """Score Distillation Sampling: grad = w(t) [eps_g(x_t, t, y) - eps],  x_t = alpha x + sigma eps,  eps ~ N(0, I).

    Poole et al. 2023, eq. 3. `scale` follows the definition of this package, so the paper's 100 is 101 here. With
    `anneal`, t falls linearly from t_max to t_min (Lukoianov et al. 2024, fig. 8) instead of being uniform between
    them.
    """

    scale: GuidanceScale = 101.0  # guidance scale, null + scale (text - null)
    t_min: DiffusionTime = 0.02  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    anneal: bool = False  # t falls linearly from t_max to t_min instead of being random
    weight: Weight = "sigma_squared"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    TOYBOX: ClassVar[Values] = {"scale": 7.5}
    # Differs from the official code, whose window narrows from [.4, .85] to [.2, .5] over the first third
    # of the run: this is the range that both span.
    PICTURE: ClassVar[Values] = {"scale": 3.0, "t_min": 0.2, "t_max": 0.85}

    citation: ClassVar[str] = """@inproceedings{poole2023dreamfusion,
  title     = {DreamFusion: Text-to-3D using 2D Diffusion},
  author    = {Poole, Ben and Jain, Ajay and Barron, Jonathan T. and Mildenhall, Ben},
  booktitle = {International Conference on Learning Representations},
  year      = {2023}
}"""

    def build(self, learner: Learner | None = None) -> Distillation:
        annealed, uniform = timesteps.annealed(self.t_max, self.t_min), timesteps.uniform(self.t_min, self.t_max)
        return Distillation(
            time=annealed if self.anneal else uniform,
            noise=noise.fresh,
            target=guided(self.scale),
            reference=injected_noise,
            weight=WEIGHTS[self.weight],
            reduction=self.reduction,
        )
