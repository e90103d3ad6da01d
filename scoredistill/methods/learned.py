"""Methods with a second score, phi, trained on the renders beside the scene. Each reads like its equation."""

from __future__ import annotations

from scoredistill.contracts import Learner, Method
from scoredistill.methods import noise, scores, time
from scoredistill.methods.distillation import Distillation, Reduction, WeightRule


def vsd(
    learner: Learner,
    *,
    scale: float = 7.5,
    t_min: float = 0.02,
    t_max: float = 0.98,
    t_max_late: float = 0.5,
    late: float = 0.2,
    weight: WeightRule = time.sigma_squared,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Variational Score Distillation: grad = w(t) [eps_g(x_t, t, y) - eps_phi(x_t, t, y, camera)].

    Wang et al. 2023 (VSD), eq. 9; eps ~ N(0, I) is put into x, and `learner` is phi. From the share `late` of the run
    on t stays below `t_max_late`, as in the official code (their 5,000 of 25,000 steps).
    """
    return Distillation(
        time=time.uniform(t_min, time.falls(t_max, t_max_late, late)),
        noise=noise.fresh,
        target=scores.guided(scale),
        reference=scores.learned(learner),
        weight=weight,
        reduction=reduction,
        learner=learner,
    )


def esd(
    learner: Learner,
    *,
    lam: float = 0.5,
    scale: float = 7.5,
    t_min: float = 0.02,
    t_max: float = 0.98,
    t_max_late: float = 0.5,
    late: float = 0.2,
    weight: WeightRule = time.sigma_squared,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Entropic Score Distillation: grad = w(t) [eps_g - lam eps_phi(x_t, t, y) - (1 - lam) eps_phi(x_t, t, y, camera)].

    Wang et al. 2024 (ESD): guidance of phi over the camera, of canonical scale 1 - lam. lam = 0 is VSD, lam = 1
    leaves the score of all views together, whose entropy it maximizes; the rest is as in VSD.
    """
    return Distillation(
        time=time.uniform(t_min, time.falls(t_max, t_max_late, late)),
        noise=noise.fresh,
        target=scores.guided(scale),
        reference=scores.learned(learner, lam),
        weight=weight,
        reduction=reduction,
        learner=learner,
    )
