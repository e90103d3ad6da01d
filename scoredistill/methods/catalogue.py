"""The catalogue: every method as one short function that reads like its equation, and how to cite it.

A new method needs such a function, a line in METHODS, a line in CITATIONS and a closed-form test.
"""

from __future__ import annotations

from collections.abc import Callable

from scoredistill.contracts import Method
from scoredistill.methods import noise, scores, time
from scoredistill.methods.distillation import Distillation, Reduction, WeightRule


def sds(
    *,
    scale: float = 101.0,
    t_min: float = 0.02,
    t_max: float = 0.98,
    anneal: bool = False,
    weight: WeightRule = time.sigma_squared,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Score Distillation Sampling: grad = w(t) [eps_g(x_t, t, y) - eps],  x_t = alpha x + sigma eps,  eps ~ N(0, I).

    Poole et al. 2022, eq. 3. `scale` is canonical (the paper's 100 is 101 here); `anneal` lets t fall linearly from
    t_max to t_min (Lukoianov et al. 2024, fig. 8) instead of being uniform between them.
    """
    return Distillation(
        time=time.annealed(t_max, t_min) if anneal else time.uniform(t_min, t_max),
        noise=noise.fresh,
        target=scores.guided(scale),
        reference=scores.put_in,
        weight=weight,
        reduction=reduction,
    )


def sdi(
    *,
    scale: float = 7.5,
    inversion_scale: float = -7.5,
    steps_per_unit: float = 10.0,
    tau: float = 1 / 30,
    entropy: float = 0.3,
    t_min: float = 0.25,
    t_max: float = 0.98,
    weight: WeightRule = time.sbar,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Score Distillation via Inversion: grad = sbar(t) [eps_g(x_t, t, y) - kappa],  x_t = alpha x + sigma kappa.

    Lukoianov et al. 2024, algorithm 2: t falls linearly; kappa = DDIM-inversion(x, 0 -> t + tau) at guidance
    `inversion_scale` in int(steps_per_unit t) steps, plus `entropy` sigma of fresh noise. Differs from the paper:
    t runs over [t_max, t_min] = [.98, .25] as in the authors' code, whose network is not trained at t = 1.
    """
    return Distillation(
        time=time.annealed(t_max, t_min),
        noise=noise.inversion(inversion_scale, steps_per_unit, tau, entropy),
        target=scores.guided(scale),
        reference=scores.put_in,
        weight=weight,
        reduction=reduction,
    )


METHODS: dict[str, Callable[..., Method]] = {"sds": sds, "sdi": sdi}

CITATIONS: dict[str, str] = {
    "sds": """@inproceedings{poole2023dreamfusion,
  title     = {DreamFusion: Text-to-3D using 2D Diffusion},
  author    = {Poole, Ben and Jain, Ajay and Barron, Jonathan T. and Mildenhall, Ben},
  booktitle = {International Conference on Learning Representations},
  year      = {2023}
}""",
    "sdi": """@inproceedings{lukoianov2024score,
  title     = {Score Distillation via Reparametrized DDIM},
  author    = {Lukoianov, Artem and {S{\\'a}ez de Oc{\\'a}riz Borde}, Haitz and Greenewald, Kristjan and
               Guizilini, Vitor Campagnolo and Bagautdinov, Timur and Sitzmann, Vincent and Solomon, Justin},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024}
}""",
}
