"""SDI, Score Distillation via Inversion (Lukoianov et al. 2024, "Score Distillation via Reparametrized DDIM").

SDS is DDIM whose noise is drawn anew at every step. SDI infers the noise from the image instead, by inverting DDIM, so
that 3D generation follows the trajectory that the 2D model would take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from scoredistill.config import (
    Deviation,
    DiffusionTime,
    Fraction,
    GuidanceScale,
    InversionScale,
    Iterations,
    LearningRate,
    StepsPerUnit,
)
from scoredistill.contracts import Learner, Query
from scoredistill.methods import noise, timesteps, weights
from scoredistill.methods.distillation import Distillation, NoiseRule, Reduction, Time, X, injected_noise, same_time
from scoredistill.methods.guidance import guided, guided_eps
from scoredistill.methods.inversion import inverted_noise
from scoredistill.methods.method import DistillationConfig, Values, carried_time
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.randomness import gaussian


@dataclass(frozen=True)
class SDI(DistillationConfig):
    """Score Distillation via Inversion: grad = sbar(t) [eps_g(x_t, t, y) - kappa],  x_t = alpha x + sigma kappa.

    Lukoianov et al. 2024, algorithm 2: t falls linearly (if `anneal`); kappa = DDIM-inversion(x, 0 -> t + tau) with
    guidance scale `inversion_scale` in int(steps_per_unit t) steps, plus Gaussian noise of standard deviation
    `entropy` sigma. The other noise sources are those of their fig. 9. `bug_compat` evaluates the image of noise
    level t + tau at t, as the official code does. Differs from the paper: t runs over [t_max, t_min] = [.98, .25]
    as in the official code, whose network is not defined at t = 1. Differs from that code in preset `paper`: the
    convexity loss is the paper's, clamped and in the camera's frame, for the first 40 % of the steps.
    """

    scale: GuidanceScale = 7.5  # guidance scale, null + scale (text - null)
    inversion_scale: InversionScale = -7.5  # guidance scale of the inversion
    steps_per_unit: StepsPerUnit = 10.0  # int(steps_per_unit t) inversion steps
    tau: Fraction = 1 / 30  # the noise is inferred at t + U[0, tau]
    entropy: Deviation = 0.3  # standard deviation of the Gaussian noise added after inversion, times sigma (eq. 11)
    inversion_start: Fraction = 0.0  # smallest timestep evaluated during inversion
    noise_source: Literal["inversion", "random", "fixed", "fixed_point", "sgd"] = "inversion"  # where kappa comes from
    noise_steps: Iterations = 10  # iterations of the noise sources fixed_point and sgd
    noise_rate: LearningRate = 1e-2  # learning rate of the noise source sgd
    anneal: bool = True  # t falls linearly from t_max to t_min instead of being random
    bug_compat: bool = False  # evaluate the image of level t + tau at t, as the official code does
    t_min: DiffusionTime = 0.25  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    weight: Weight = "sbar"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    OFFICIAL: ClassVar[Values] = {"reduction": "mean_over_latent"}
    TOYBOX: ClassVar[Values] = {
        "scale": 2.5,
        "inversion_scale": -2.5,
        "inversion_start": 0.2,  # at less noise this prior's predictions are so large that free pixels retain them
        "steps_per_unit": 5.0,  # half the paper's: the same shapes at half the cost
        # Inverted from an image of this prior, kappa has a standard deviation of .06 to .4 only, where the network
        # expects 1: entropy supplies the rest, without which cars become lumps.
        "entropy": 1.0,
    }
    TOYBOX_FLAT: ClassVar[Values] = {"t_min": carried_time(0.02)}  # a flat image is sharp only if t falls almost to 0
    TOYBOX_IMAGE: ClassVar[Values] = {"descent": 40.0, "falling": False}  # whole steps x <- D in a run of 40 steps
    # The guidance scale and range of t of SDS on Zero-1-to-3; t falls through the whole range.
    PICTURE: ClassVar[Values] = {"scale": 3.0, "inversion_scale": -3.0, "t_min": 0.2, "t_max": 0.85}
    view_prompting: ClassVar[str] = "perp-neg"

    citation: ClassVar[str] = """@inproceedings{lukoianov2024score,
  title     = {Score Distillation via Reparametrized DDIM},
  author    = {Lukoianov, Artem and {S{\\'a}ez de Oc{\\'a}riz Borde}, Haitz and Greenewald, Kristjan and
               Guizilini, Vitor Campagnolo and Bagautdinov, Timur and Sitzmann, Vincent and Solomon, Justin},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024}
}"""

    def build(self, learner: Learner | None = None) -> Distillation:
        kappa, inverted = self.noise(), self.noise_source == "inversion"
        annealed, uniform = timesteps.annealed(self.t_max, self.t_min), timesteps.uniform(self.t_min, self.t_max)
        return Distillation(
            time=annealed if self.anneal else uniform,
            second_time=self.inferred_at if inverted else same_time,
            noise=mislabeled(kappa) if self.bug_compat else kappa,
            target=guided(self.scale),
            reference=injected_noise,
            weight=WEIGHTS[self.weight],
            reduction=self.reduction,
        )

    def inferred_at(self, query: Query, t: Time) -> Time:
        """r = t + U[0, tau], one draw for each image (algorithm 2)."""
        return timesteps.with_noise(query.prior.schedule, t + self.tau * timesteps.draw(query, len(t)))

    def noise(self) -> NoiseRule:
        """kappa, from the chosen source."""
        match self.noise_source:
            case "inversion":
                return inverted_noise(self.inversion_scale, self.steps_per_unit, self.entropy, self.inversion_start)
            case "random":
                return noise.fresh
            case "fixed":
                return noise.fixed
            case "fixed_point":
                return fixed_point(self.noise_steps, self.scale)
            case "sgd":
                return gradient_descent(self.noise_steps, self.noise_rate, self.scale)


def fixed_point(steps: int, scale: float) -> NoiseRule:
    """kappa <- eps_g(alpha x + sigma kappa, t), `steps` times from N(0, I) (Lukoianov et al. 2024, eq. 8 and fig. 9).

    Contracts without guidance, diverges with it.
    """

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        kappa = gaussian(x, query.rng)
        for _ in range(steps):
            x_t = query.prior.schedule.diffuse(x, kappa, t)
            kappa = guided_eps(query.prior, x_t, t, query.conditions, scale)
        return kappa

    return rule


def gradient_descent(steps: int, rate: float, scale: float) -> NoiseRule:
    """kappa <- kappa - rate d/dkappa mean (kappa - eps_g(alpha x + sigma kappa, t))^2, `steps` times from N(0, I).

    Lukoianov et al. 2024, fig. 9 ("SGD"), who do not state the rate; the mean is over each image. The prior is
    differentiated.
    """

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        kappa = gaussian(x, query.rng)
        for _ in range(steps):
            with torch.enable_grad():
                kappa.requires_grad_()
                x_t = query.prior.schedule.diffuse(x, kappa, t)
                residual = kappa - guided_eps(query.prior, x_t, t, query.conditions, scale)
                (slope,) = torch.autograd.grad(residual.square().flatten(1).mean(1).sum(), kappa)
            kappa = kappa.detach() - rate * slope
        return kappa

    return rule


def mislabeled(rule: NoiseRule) -> NoiseRule:
    """The kappa that makes x_t the noisy image of level r, which the prior then evaluates at t.

    A slip of SDI's official code: its input is off scale by alpha_r / alpha_t, 0.57 at t = .9, r = t + .1.
    """

    def slipped(query: Query, x: X, t: Time, r: Time) -> X:
        schedule = query.prior.schedule
        return schedule.noise_between(x, schedule.diffuse(x, rule(query, x, t, r), r), t)

    return slipped


def cached_noise_sdi(query: Query, x_T: X, *, scale: float, times: list[float]) -> Iterator[X]:
    """SDI whose noise is the last prediction, x moved by the whole gradient: x <- D at every one of `times`.

    Lukoianov et al. 2024, fig. 1c: this is DDIM itself. Starts from the image that DDIM denoises from `x_T` at the top
    time; yields it, and x after every step.
    """
    schedule = query.prior.schedule
    top = schedule.snap(torch.ones(len(x_T), dtype=torch.float64))
    kappa = guided_eps(query.prior, x_T, top, query.conditions, scale)
    x = schedule.clean(x_T, kappa, top)
    yield x
    for t in times:
        step = Distillation(
            time=timesteps.annealed(t, t),
            noise=lambda query, x, t, r, kappa=kappa: kappa,
            target=guided(scale),
            reference=injected_noise,
            weight=weights.sbar,
        )
        answer = step(replace(query, state=None), x)
        x, kappa = x - len(x) * answer.grad, answer.probe["eps"]
        yield x
