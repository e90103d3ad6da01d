"""Methods that follow an ODE, or look at two of its times. Each reads like its equation."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

from scoredistill.contracts import Method
from scoredistill.methods import noise, ode, scores, second, time
from scoredistill.methods.choices import chosen
from scoredistill.methods.distillation import Distillation, Reduction, WeightRule, same

KEPT_OR_NOT = {"random": noise.fresh, "fixed": noise.fixed}
"""Noise that is not inferred: what ablations compare with."""


def ism(
    *,
    scale: float = 7.5,
    inversion_scale: float = 0.0,
    stride: float = 0.2,
    delta: float = 0.05,
    delta_start: float = 0.1,
    t_min: float = 0.02,
    t_max: float = 0.98,
    t_max_late: float = 0.5,
    warm: float = 0.3,
    start_noise: float = 0.1,
    factor: float = 0.1,
    form: Literal["code", "paper"] = "code",
    weight: WeightRule = time.sbar,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Interval Score Matching: grad = factor w(t) [eps_g(x_t, t, y) - eps_s(x_s, s)],  s = t - delta.

    Liang et al. 2024: x_s by DDIM inversion of x in strides, x_t by one step s -> t along eps_s, both under the empty
    prompt at `inversion_scale`. Form "code": one t for the whole batch, t_max and delta go from their first values to
    `t_max_late` and `delta` over the first `warm` of the run, x starts with the noise of the lowest level. Form
    "paper" has none of these: one t for each image in [t_min, t_max], `delta` all along, x as it is.
    """
    official = chosen("form", form, {"code": True, "paper": False})
    window = time.uniform(t_min, time.linear(t_max, t_max_late, warm) if official else t_max)
    return Distillation(
        time=time.shared(window) if official else window,
        level=second.behind(time.linear(delta_start, delta, warm) if official else delta),
        noise=noise.interval(inversion_scale, stride, start_noise if official else None),
        target=scores.guided(scale),
        reference=second.interval,
        weight=lambda schedule, t, like: factor * weight(schedule, t, like),
        reduction=reduction,
    )


def asd(
    *,
    scale: float = 7.5,
    reference_scale: float = 1.0,
    delta: float = 0.1,
    perp_neg: float = 0.5,
    t_min_start: float = 0.5,
    t_min: float = 0.02,
    t_max: float = 0.98,
    t_max_late: float = 0.5,
    weight: WeightRule = time.sigma_squared,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Asynchronous Score Distillation: grad = w(t) [eps_g(x_t, t, y) - eps_c(x_r, r, y)],  r = t + delta (t - t_min) u.

    Ma et al. 2024, official code: u ~ U[0, 1), the same fresh noise at both times; the window of t slides linearly
    from [t_min_start, t_max] to [t_min, t_max_late] over the run; `perp_neg` of the Perp-Neg weights in the target,
    none in the reference. That code asks for both times in one call, here they are two.
    """
    low = time.linear(t_min_start, t_min)
    return Distillation(
        time=time.uniform(low, time.linear(t_max, t_max_late)),
        level=second.beyond(delta, low, random=True),
        noise=noise.fresh,
        target=second.with_perp_neg(scores.guided(scale), perp_neg),
        reference=second.predicted(reference_scale, perp_neg=0.0),
        weight=weight,
        reduction=reduction,
    )


def consistent3d(
    *,
    scale: float = 101.0,
    scale_end: float = 51.0,
    t_start: float = 0.7,
    t_end: float = 0.1,
    gap_min: float = 0.1,
    gap_max: float = 0.3,
    clip_start: float = 2.0,
    clip_end: float = 8.0,
    weight: WeightRule = time.constant,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Consistent3D: grad = w(t) clip[eps_g(x_t, t, y) - eps_g(x_s, s, y)],  x_s one DDIM step t -> s below x_t.

    Wu et al. 2024: one noise kept for good; s falls with the root of progress from t_start to t_end, t = s + gap;
    guidance and the elementwise clip go linearly from their first to their last values. Differs from the paper: the
    sign is the official code's, which contracts; the one derived there expands (METHODS D14).
    """
    lower = partial(_root, t_start, t_end)
    guidance = time.linear(scale, scale_end)
    return Distillation(
        time=second.above(lower, gap_min, gap_max),
        level=second.course(lower),
        noise=noise.fixed,
        target=scores.guided(guidance),
        reference=second.stepped(guidance),
        weight=weight,
        clip=partial(time.at, time.linear(clip_start, clip_end)),
        reduction=reduction,
    )


def sdi(
    *,
    scale: float = 7.5,
    inversion_scale: float = -7.5,
    steps_per_unit: float = 10.0,
    tau: float = 1 / 30,
    entropy: float = 0.3,
    inversion_start: float = 0.0,
    noise_source: Literal["inversion", "random", "fixed", "fixed_point", "sgd"] = "inversion",
    noise_steps: int = 10,
    noise_rate: float = 1e-2,
    anneal: bool = True,
    bug_compat: bool = False,
    t_min: float = 0.25,
    t_max: float = 0.98,
    weight: WeightRule = time.sbar,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Score Distillation via Inversion: grad = sbar(t) [eps_g(x_t, t, y) - kappa],  x_t = alpha x + sigma kappa.

    Lukoianov et al. 2024, algorithm 2: t falls linearly (unless not `anneal`); kappa = DDIM-inversion(x, 0 -> t + tau)
    at guidance `inversion_scale` in int(steps_per_unit t) steps, plus `entropy` sigma of fresh noise. The other sources
    of kappa are their fig. 9; `bug_compat` gives the prior x at level t + tau labeled t, as the official code does.
    Differs from the paper: t runs over [t_max, t_min] = [.98, .25] as in that code, whose network knows no t = 1.
    """
    inferred = {
        "inversion": noise.inversion(inversion_scale, steps_per_unit, entropy, inversion_start),
        "fixed_point": noise.fixed_point(noise_steps, scale),
        "sgd": noise.sgd(noise_steps, noise_rate, scale),
    }
    kappa = chosen("noise_source", noise_source, inferred | KEPT_OR_NOT)
    return Distillation(
        time=time.annealed(t_max, t_min) if anneal else time.uniform(t_min, t_max),
        level=second.ahead(tau) if noise_source == "inversion" else same,
        noise=noise.mislabeled(kappa) if bug_compat else kappa,
        target=scores.guided(scale),
        reference=scores.put_in,
        weight=weight,
        reduction=reduction,
    )


def dsd(
    *,
    scale: float = 7.5,
    reference_scale: float = 1.0,
    ode_scale: float = 7.5,
    ode_steps: int = 10,
    ode_end: ode.End = "grid",
    rounding: ode.Rounding = "floor",
    noise_source: Literal["ode", "random", "fixed"] = "ode",
    delta: float = 0.1,
    delta_mode: Literal["fixed", "random"] = "fixed",
    t_min: float = 0.32,
    t_max: float = 0.98,
    law: Literal["sqrt", "linear"] = "sqrt",
    weight: WeightRule = time.sigma_squared,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Diverse Score Distillation: grad = w(t) [eps_g(x_t, t, y) - eps_c(x_r, r, y)],  r = t + delta (t - t_min).

    Xu et al. 2024, algorithm 3: x_t and x_r are x with the noise kappa that the asset's own ODE shows at r, remembered
    for each condition (`ode.direction`); "random" and "fixed" are their table 3. t falls by `law`. Differs from the
    paper: t, w and the law are the official code's, whose delta is "random", times U[0, 1), and whose end is "exact".
    """
    inferred = {"ode": ode.direction(ode_scale, ode_steps, ode_end, rounding)}
    random = chosen("delta_mode", delta_mode, {"fixed": False, "random": True})
    return Distillation(
        time=time.annealed(t_max, t_min, chosen("law", law, {"sqrt": math.sqrt, "linear": float})),
        level=second.beyond(delta, t_min, random=random, apart=True),
        noise=chosen("noise_source", noise_source, inferred | KEPT_OR_NOT),
        target=scores.guided(scale),
        reference=second.predicted(reference_scale),
        weight=weight,
        reduction=reduction,
    )


def _root(start: float, end: float, progress: float) -> float:
    return start + (end - start) * math.sqrt(progress)
