"""Methods that look at one noised image: SDS and those that rearrange its terms. Each reads like its equation."""

from __future__ import annotations

import math

from scoredistill.contracts import Method
from scoredistill.methods import noise, pixels, scores, time
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


def sjc(
    *,
    scale: float = 101.0,
    t_min: float = 0.01,
    t_max: float = 0.97,
    weight: WeightRule = time.constant,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Score Jacobian Chaining: grad = -[D(x + sbar eps) - x] / sbar = eps_g(x_t, t, y) - eps,  eps ~ N(0, I).

    Wang et al. 2023 (SJC), the variance-reduced form of the official code: SDS with w = 1. `scale` is threestudio's,
    canonical; the paper's own is 100.
    """
    return sds(scale=scale, t_min=t_min, t_max=t_max, weight=weight, reduction=reduction)


def mvdream(
    *,
    scale: float = 50.0,
    rescale: float = 0.5,
    t_min_start: float = 0.98,
    t_min: float = 0.02,
    t_max: float = 0.98,
    t_max_late: float = 0.5,
    warm: float = 0.8,
    weight: WeightRule = time.sbar,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """MVDream: grad = w(t) / sbar [x - D'],  D' = D_g [1 - rescale + rescale std(D_c) / std(D_g)].

    Shi et al. 2023, settings of threestudio: regression of x, noised as in SDS, onto its own denoised image, whose
    contrast under guidance is brought back towards that without. t is uniform in a window that goes from [t_min_start,
    t_max] to [t_min, t_max_late] over the first `warm` of the run. Without `rescale` it is SDS with w = sbar. Any prior
    will do; the views of one that denoises several have one t and one contrast.
    """
    return Distillation(
        time=time.uniform(time.linear(t_min_start, t_min, warm), time.linear(t_max, t_max_late, warm)),
        noise=noise.fresh,
        target=scores.rescaled(scale, rescale),
        reference=scores.put_in,
        weight=weight,
        reduction=reduction,
    )


def hifa(
    *,
    scale: float = 101.0,
    t_min: float = 0.3,
    t_max: float = 0.98,
    image_weight: float = 0.01,
    denoising_steps: int = 1,
    weight: WeightRule = time.sigma_squared,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """HiFA: grad = w(t) [eps_g(x_t, t, y) - eps],  grad_rgb = image_weight w(t) [rgb - Dec(D)] / sbar(t).

    Zhu et al. 2024, settings of threestudio: t falls with the root of progress, the image D that is seen in x_t is
    compared with the render in both spaces. `denoising_steps` > 1 is the authors' own code (theirs: 4), whose D takes
    that many queries at most. Differs from the paper: the z-variance loss belongs to the scene.
    """
    latent = Distillation(
        time=time.annealed(t_max, t_min, math.sqrt),
        noise=noise.fresh,
        target=pixels.denoised(scale, denoising_steps),
        reference=scores.put_in,
        weight=weight,
        reduction=reduction,
    )
    return pixels.beside(latent, image_weight) if image_weight else latent


def nfsd(
    *,
    scale: float = 7.5,
    t_min: float = 0.02,
    t_max: float = 0.98,
    switch: float = 0.2,
    weight: WeightRule = time.sigma_squared,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Noise-Free Score Distillation: grad = w(t) [delta_D + scale (eps_text - eps_empty)].

    delta_D = eps_empty for t < switch, eps_empty - eps_negative from there on. Katzir et al. 2024; their negative
    prompt is "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy".
    """
    return Distillation(
        time=time.uniform(t_min, t_max),
        noise=noise.fresh,
        target=scores.noise_free(scale, switch),
        reference=scores.nothing,
        weight=weight,
        reduction=reduction,
    )


def csd(
    *,
    negative_share: float = 1.0,
    ramp: float = 0.5,
    t_min: float = 0.02,
    t_max: float = 0.98,
    t_max_late: float = 0.5,
    weight: WeightRule = time.constant,
    reduction: Reduction = "sum_over_latent",
) -> Method:
    """Classifier Score Distillation: grad = w(t) [eps_text - n eps_negative - (1 - n) eps_empty].

    Yu et al. 2024, first stage of the official code: n grows from 0 to `negative_share` over the first `ramp` of the
    run, after which t stays below `t_max_late`. Their negative prompt is "oversaturated color, ugly, tiling, low
    quality, noisy"; without one this is eps_text - eps_empty throughout.
    """
    return Distillation(
        time=time.uniform(t_min, time.falls(t_max, t_max_late, ramp)),
        noise=noise.fresh,
        target=scores.classifier(time.linear(0.0, negative_share, ramp)),
        reference=scores.nothing,
        weight=weight,
        reduction=reduction,
    )
