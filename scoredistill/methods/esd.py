"""ESD, Entropic Score Distillation (Wang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scoredistill.config import DiffusionTime, Fraction, GuidanceScale
from scoredistill.contracts import Learner, Query
from scoredistill.methods import noise, timesteps
from scoredistill.methods.distillation import Distillation, Noisy, Reduction, X
from scoredistill.methods.guidance import guided
from scoredistill.methods.method import LearnedMethod, Values
from scoredistill.methods.vsd import VSD
from scoredistill.methods.weights import WEIGHTS, Weight


@dataclass(frozen=True)
class ESD(LearnedMethod):
    """Entropic Score Distillation: grad = w(t) [eps_g - lam eps_phi(x_t, t, y) - (1 - lam) eps_phi(x_t, t, y, camera)].

    Wang et al. 2024 (ESD): the reference is classifier-free guidance of phi over the camera, with guidance scale
    (1 - lam). lam = 0 is VSD; lam = 1 leaves only the score of all views together, whose entropy it maximizes.
    Everything else is as in VSD, whose configuration the official code uses.
    """

    lam: Fraction = 0.5  # share of the camera-free score in the reference
    scale: GuidanceScale = 7.5  # guidance scale, null + scale (text - null)
    t_min: DiffusionTime = 0.02  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    t_max_late: DiffusionTime = 0.5  # largest diffusion time late in the run
    late: Fraction = 0.2  # share of the run after which t_max_late applies
    weight: Weight = "sigma_squared"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    OFFICIAL: ClassVar[Values] = VSD.OFFICIAL
    TOYBOX: ClassVar[Values] = VSD.TOYBOX
    TOYBOX_FLAT: ClassVar[Values] = VSD.TOYBOX_FLAT
    TOYBOX_IMAGE: ClassVar[Values] = VSD.TOYBOX_IMAGE
    front_deg: ClassVar[float] = VSD.front_deg
    gradient_norm: ClassVar[float] = VSD.gradient_norm

    citation: ClassVar[str] = """@inproceedings{wang2024taming,
  title     = {Taming Mode Collapse in Score Distillation for Text-to-3D Generation},
  author    = {Wang, Peihao and Xu, Dejia and Fan, Zhiwen and Wang, Dilin and Mohan, Sreyas and Iandola, Forrest and
               Ranjan, Rakesh and Li, Yilei and Liu, Qiang and Wang, Zhangyang and Chandra, Vikas},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {9037--9047},
  year      = {2024}
}"""

    def build(self, learner: Learner | None = None) -> Distillation:
        if learner is None:
            raise ValueError("ESD needs a learner: prepare(prior, seed) begins one")

        def phi(query: Query, noisy: Noisy, camera: bool) -> X:
            return learner.eps(query, noisy.x_t, noisy.t, camera=camera)

        def learned_score(query: Query, noisy: Noisy, target: X) -> X:
            """lam eps_phi(x_t, t, y) + (1 - lam) eps_phi(x_t, t, y, camera), predictions of the learner."""
            if self.lam in (0, 1):  # the other branch has no weight
                return phi(query, noisy, camera=self.lam == 0)
            return self.lam * phi(query, noisy, camera=False) + (1 - self.lam) * phi(query, noisy, camera=True)

        return Distillation(
            time=timesteps.uniform(self.t_min, timesteps.step_at(self.t_max, self.t_max_late, self.late)),
            noise=noise.fresh,
            target=guided(self.scale),
            reference=learned_score,
            weight=WEIGHTS[self.weight],
            reduction=self.reduction,
            learner=learner,
        )
