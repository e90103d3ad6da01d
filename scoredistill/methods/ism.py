"""ISM, Interval Score Matching (Liang et al. 2024, LucidDreamer)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch

from scoredistill.config import (
    Deviation,
    DiffusionTime,
    Fraction,
    GuidanceScale,
    InversionScale,
    Positive,
    Range,
    ordered,
)
from scoredistill.contracts import Distilled, Query
from scoredistill.methods import timesteps
from scoredistill.methods.distillation import Noisy, Reduction, Time, X, probe, reduced
from scoredistill.methods.guidance import guided_eps
from scoredistill.methods.inversion import ascend, strided_times
from scoredistill.methods.method import MethodConfig, Values
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.randomness import gaussian


@dataclass(frozen=True)
class ISM(MethodConfig):
    """Interval Score Matching: grad = factor w(t) [eps_g(x_t, t, y) - eps_s(x_s, s)],  s = t - delta.

    Liang et al. 2024: x_s is obtained by DDIM inversion of x with steps of length `stride`, x_t by one more step s
    -> t along eps_s, both under the empty prompt with guidance `inversion_scale`. In the form "code", t is the same
    for the whole batch, t_max and delta change from their first values to `t_max_late` and `delta` over the first
    `warm` of the run, and the inversion starts from x with the noise of the lowest level. The form "paper" has none
    of these: each image has its own t in [t_min, t_max], `delta` is constant, and the inversion starts from x
    itself. The official code sums over its four views (reduction `sum_over_batch`); the losses of its splats are
    relative to this sum. Differs from that code: images are neither flipped nor replaced by depth maps, and splats
    start from a ball, not from Point-E.
    """

    scale: GuidanceScale = 7.5  # guidance scale, null + scale (text - null)
    inversion_scale: InversionScale = 0.0  # guidance scale of the inversion, away from the empty prompt
    stride: Annotated[float, Range(1e-3, 1)] = 0.2  # distance in t between two points of the inversion
    delta: Fraction = 0.05  # distance t - s
    delta_start: Fraction = 0.1  # that distance at the start of the run (form code)
    t_min: DiffusionTime = 0.02  # smallest diffusion time
    t_max: DiffusionTime = 0.98  # largest diffusion time
    t_max_late: DiffusionTime = 0.5  # largest diffusion time late in the run (form code)
    warm: Fraction = 0.3  # share of the run over which t_max and delta reach their late values (form code)
    start_noise: Deviation = 0.1  # standard deviation of per-channel noise at the start of the inversion (form code)
    factor: Positive = 0.1  # factor on the gradient
    form: Literal["code", "paper"] = "code"  # as the official code does it, or as the paper states it
    weight: Weight = "sbar"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    OFFICIAL: ClassVar[Values] = {"reduction": "sum_over_batch"}
    # A larger interval than the paper's: only the difference of the two predictions removes noise from free pixels.
    TOYBOX: ClassVar[Values] = {"scale": 2.5, "delta": 0.2, "delta_start": 0.2}
    TOYBOX_IMAGE: ClassVar[Values] = {"descent": 45.0, "noise": 0.0}  # Adam keeps the background noisy
    gradient_norm: ClassVar[float] = 0.03
    view_prompting: ClassVar[str] = "interpolated"
    negative_prompt: ClassVar[str] = (
        "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, "
        "oversaturation."
    )

    citation: ClassVar[str] = """@inproceedings{liang2024luciddreamer,
  title     = {LucidDreamer: Towards High-Fidelity Text-to-3D Generation via Interval Score Matching},
  author    = {Liang, Yixun and Yang, Xin and Lin, Jiantao and Li, Haodong and Xu, Xiaogang and Chen, Yingcong},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2024}
}"""

    def check(self) -> None:
        ordered("t_min", "t_max", self)
        if self.form == "code":
            ordered("t_min", "t_max_late", self)

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        prior, schedule = query.prior, query.prior.schedule
        t, s = self.times(query, len(x))
        x_s = self.invert(query, x, s)
        eps_s = guided_eps(prior, x_s, s, replace(query.conditions, null=query.conditions.empty), self.inversion_scale)
        kappa = schedule.noise_between(x, schedule.move(x_s, eps_s, s, t), t)
        noisy = Noisy(x, t, s, kappa, schedule.diffuse(x, kappa, t))
        eps_t = guided_eps(prior, noisy.x_t, t, query.conditions, self.scale)
        grad = reduced(self.factor * WEIGHTS[self.weight](schedule, t, x) * (eps_t - eps_s), self.reduction)
        return Distilled(grad, probe=probe(query, noisy, eps_t))

    def times(self, query: Query, batch: int) -> tuple[Time, Time]:
        """t [B], and s = max(t - delta, 0)."""
        schedule, official = query.prior.schedule, self.form == "code"
        t_max = timesteps.linear(self.t_max, self.t_max_late, self.warm) if official else self.t_max
        delta = timesteps.linear(self.delta_start, self.delta, self.warm) if official else self.delta
        window = timesteps.uniform(self.t_min, t_max)
        t = timesteps.with_noise(schedule, (timesteps.shared(window) if official else window)(query, batch))
        return t, schedule.snap((t - timesteps.at_progress(delta, query.progress)).clamp(min=0))

    def invert(self, query: Query, x: X, s: Time) -> X:
        """x_s, by DDIM inversion in strides 0 -> stride -> ... -> s under the empty prompt.

        Form "code" starts from alpha x + sigma n at the lowest level, n ~ N(0, I) + `start_noise` N(0, 1) for each
        channel of the batch.
        """
        prior, schedule = query.prior, query.prior.schedule
        times = strided_times(prior, s, self.stride)
        xbar = x
        if self.form == "code":
            n = gaussian(x, query.rng) + self.start_noise * gaussian(x[:1, :, :1, :1], query.rng)
            xbar = x + schedule.sbar(times[0], x) * n
        conditions = replace(query.conditions, null=query.conditions.empty)
        return schedule.alpha(s, x) * ascend(prior, xbar, times, conditions, self.inversion_scale)
