"""VSD, Variational Score Distillation (Wang et al. 2023, ProlificDreamer)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scoredistill.config import DiffusionTime, Fraction, GuidanceScale
from scoredistill.contracts import Learner, Query
from scoredistill.methods import noise, timesteps
from scoredistill.methods.distillation import Distillation, Noisy, Reduction, X
from scoredistill.methods.guidance import guided
from scoredistill.methods.method import LearnedMethod, Values
from scoredistill.methods.weights import WEIGHTS, Weight


@dataclass(frozen=True)
class VSD(LearnedMethod):
    """Variational Score Distillation: grad = w(t) [eps_g(x_t, t, y) - eps_phi(x_t, t, y, camera)].

    Wang et al. 2023 (VSD), eq. 9: eps ~ N(0, I) is added to x, and eps_phi is the prediction of a learner that is
    trained on the renders. After the share `late` of the run, t stays below `t_max_late`, as in the official code
    (from step 5,000 of 25,000), whose low-rank adapters and camera network are initialized as in `learner_start`
    published. Differs from that code: phi adapts the prior itself instead of the v-predicting Stable Diffusion 2.1,
    and the scene is optimized with Adam instead of AdamW.
    """

    scale: GuidanceScale = 7.5  # guidance scale, null + scale (text - null)
    t_min: DiffusionTime = 0.02  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    t_max_late: DiffusionTime = 0.5  # largest diffusion time late in the run
    late: Fraction = 0.2  # share of the run after which t_max_late applies
    weight: Weight = "sigma_squared"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    OFFICIAL: ClassVar[Values] = {"learner_lr": 1e-4, "learner_start": "published"}
    TOYBOX: ClassVar[Values] = {"scale": 2.5, "learner_lr": 1e-3, "learner_start": "prior"}
    TOYBOX_FLAT: ClassVar[Values] = {"weight": "sbar"}  # sbar (eps_g - eps_phi) is a difference of denoised images
    TOYBOX_IMAGE: ClassVar[Values] = {"descent": 20.0, "noise": 0.0}
    front_deg: ClassVar[float] = 30.0
    gradient_norm: ClassVar[float] = 0.15

    citation: ClassVar[str] = """@inproceedings{wang2023prolificdreamer,
  title     = {ProlificDreamer: High-Fidelity and Diverse Text-to-3D Generation with Variational Score Distillation},
  author    = {Wang, Zhengyi and Lu, Cheng and Wang, Yikai and Bao, Fan and Li, Chongxuan and Su, Hang and Zhu, Jun},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023}
}"""

    def build(self, learner: Learner | None = None) -> Distillation:
        if learner is None:
            raise ValueError("VSD needs a learner: prepare(prior, seed) begins one")

        def learned_score(query: Query, noisy: Noisy, target: X) -> X:
            """eps_phi(x_t, t, y, camera), the prediction of the learner."""
            return learner.eps(query, noisy.x_t, noisy.t, camera=True)

        return Distillation(
            time=timesteps.uniform(self.t_min, timesteps.step_at(self.t_max, self.t_max_late, self.late)),
            noise=noise.fresh,
            target=guided(self.scale),
            reference=learned_score,
            weight=WEIGHTS[self.weight],
            reduction=self.reduction,
            learner=learner,
        )
