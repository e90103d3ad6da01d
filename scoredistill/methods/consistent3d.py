"""Consistent3D: consistency distillation along a deterministic trajectory (Wu et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from scoredistill.config import DiffusionTime, Fraction, GuidanceScale, Positive, ordered
from scoredistill.contracts import Learner, Query
from scoredistill.methods import noise, timesteps
from scoredistill.methods.distillation import Distillation, Noisy, Reduction, Time, X
from scoredistill.methods.guidance import guided, guided_eps
from scoredistill.methods.method import DistillationConfig, Values
from scoredistill.methods.weights import WEIGHTS, Weight

TOP = 0.98
"""Largest t (official code)."""


@dataclass(frozen=True)
class Consistent3D(DistillationConfig):
    """Consistent3D: grad = w(t) clip[eps_g(x_t, t, y) - eps_g(x_s, s, y)],  x_s one DDIM step t -> s below x_t.

    Wu et al. 2024: the noise is fixed. s falls with the square root of progress from t_start to t_end, and t = s +
    gap. The guidance scale and the bound of the elementwise clip change linearly from their first to their last
    values. Differs from the paper: the sign is that of the official code, with which the update contracts; with the
    sign derived in the paper it expands. Differs from the official code in preset `paper`: Adam instead of Adan,
    and the eight views of a step are evenly spaced around the object, not in two groups of four.
    """

    scale: GuidanceScale = 101.0  # guidance scale at the start of the run, null + scale (text - null)
    scale_end: GuidanceScale = 51.0  # guidance scale at the end of the run
    t_start: DiffusionTime = 0.7  # the lower time s at the start of the run
    t_end: DiffusionTime = 0.1  # the lower time s at the end of the run
    gap_min: Fraction = 0.1  # smallest distance t - s
    gap_max: Fraction = 0.3  # largest distance t - s
    clip_start: Positive = 2.0  # bound on every element of the gradient at the start of the run
    clip_end: Positive = 8.0  # that bound at the end of the run
    weight: Weight = "constant"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    # A larger gap than the paper's: only the difference of the two predictions removes noise from free pixels.
    TOYBOX: ClassVar[Values] = {"scale": 7.5, "scale_end": 3.75, "gap_min": 0.3, "gap_max": 0.5}

    citation: ClassVar[str] = """@inproceedings{wu2024consistent3d,
  title     = {Consistent3D: Towards Consistent High-Fidelity Text-to-3D Generation with Deterministic Sampling Prior},
  author    = {Wu, Zike and Zhou, Pan and Yi, Xuanyu and Yuan, Xiaoding and Zhang, Hanwang},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2024}
}"""

    def check(self) -> None:
        ordered("gap_min", "gap_max", self)
        ordered("t_end", "t_start", self)

    def build(self, learner: Learner | None = None) -> Distillation:
        scale = timesteps.linear(self.scale, self.scale_end)

        def one_step_below(query: Query, noisy: Noisy, target: X) -> X:
            """eps_g(x_s, s), x_s one DDIM step from x_t along the target."""
            x_s = query.prior.schedule.move(noisy.x_t, target, noisy.t, noisy.r)
            return guided_eps(query.prior, x_s, noisy.r, query.conditions, timesteps.at_progress(scale, query.progress))

        def lower(query: Query, t: Time) -> Time:
            """r = s = t_start + (t_end - t_start) sqrt(progress), the same for every image."""
            return torch.full_like(t, self.lower_time(query.progress))

        return Distillation(
            time=self.upper_time,
            second_time=lower,
            noise=noise.fixed,
            target=guided(scale),
            reference=one_step_below,
            weight=WEIGHTS[self.weight],
            clip=partial(timesteps.at_progress, timesteps.linear(self.clip_start, self.clip_end)),
            reduction=self.reduction,
        )

    def lower_time(self, progress: float) -> float:
        """s = t_start + (t_end - t_start) sqrt(progress)."""
        return self.t_start + (self.t_end - self.t_start) * math.sqrt(progress)

    def upper_time(self, query: Query, batch: int) -> Time:
        """t = min(s + U[gap_min, gap_max], TOP), one draw for each image."""
        gap = self.gap_min + (self.gap_max - self.gap_min) * timesteps.draw(query, batch)
        return (self.lower_time(query.progress) + gap).clamp(max=TOP)
