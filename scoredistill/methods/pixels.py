"""What HiFA adds to SDS (Zhu et al. 2024): a gradient on the render's pixels, and denoising in several steps.

D       denoised image in the prior's space   [B C h w]
z       fresh noise, unit scale               [B C h w]
t, s    times of one step down, s < t         [B]
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from scoredistill.contracts import Distilled, Method, Query, finite
from scoredistill.methods.distillation import Distillation, Noised, TargetRule, X, divisor
from scoredistill.methods.noise import gaussian
from scoredistill.methods.scores import guided_eps


def beside(distillation: Distillation, image_weight: float) -> Method:
    """A distillation with grad_rgb = image_weight w(t) [rgb - Dec(D)] / sbar(t) beside its own gradient.

    (x - D) / sbar = eps_g - kappa, so behind an identity decoder both gradients are one. Dec(D) is resized to the
    render; reduced over the pixels as `distillation` is over x. ValueError for a query without a render.
    """

    @torch.no_grad()
    def method(query: Query, x: X) -> Distilled:
        if query.rgb is None:
            raise ValueError("a term on pixels needs the render: give the query its rgb, or take image_weight 0")
        answer = distillation(query, x)
        seen, t, schedule = query.prior.decode(answer.probe["x0"]), answer.probe["t"], query.prior.schedule
        if seen.shape != query.rgb.shape:
            seen = F.interpolate(seen, query.rgb.shape[-2:], mode="bilinear", antialias=True)
        weight = image_weight * distillation.weight(schedule, t, seen) / schedule.sbar(t, seen)
        grad_rgb = weight * (query.rgb - seen) / divisor(distillation.reduction, seen)
        finite("the score-distillation gradient on pixels", [grad_rgb])
        return Distilled(answer.grad, grad_rgb, answer.probe)

    return method


def denoised(scale: float, steps: int) -> TargetRule:
    """The target (x_t / alpha - D) / sbar, with D seen after stochastic DDIM steps down t, t - 1/steps, ... > 0.

    kappa <- (sbar_s / sbar_t) eps_g + sqrt(1 - sbar_s^2 / sbar_t^2) z,  x_s = alpha_s D + sigma_s kappa
    (Song et al. 2021, eq. 12 and 16 with eta = 1). At most `steps` queries; one gives eps_g itself.
    ValueError for less than one step.
    """
    if steps < 1:
        raise ValueError(f"denoising needs at least one step, got {steps}")

    def rule(query: Query, noised: Noised) -> X:
        prior, schedule, x_t, t = query.prior, query.prior.schedule, noised.x_t, noised.t
        eps = guided_eps(prior, x_t, t, query.conditions, scale)
        for step in range(1, steps):
            s = schedule.snap(noised.t - step / steps)
            if not bool((s > 0).all()):
                break
            share = schedule.sbar(s, x_t) / schedule.sbar(t, x_t)
            kappa = share * eps + (1 - share**2).sqrt() * gaussian(eps, query.rng)
            x_t, t = schedule.diffuse(schedule.clean(x_t, eps, t), kappa, s), s
            eps = guided_eps(prior, x_t, t, query.conditions, scale)
        return schedule.noise_between(schedule.clean(x_t, eps, t), noised.x_t, noised.t)

    return rule
