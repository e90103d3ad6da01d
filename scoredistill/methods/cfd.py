"""CFD, Consistent Flow Distillation: the clean flow of a noise that moves with the view (Yan et al. 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from scoredistill.config import DiffusionTime, Fraction, GuidanceScale
from scoredistill.contracts import Distilled, Query
from scoredistill.methods import timesteps
from scoredistill.methods.distillation import Noisy, Reduction, X, probe, reduced
from scoredistill.methods.guidance import guided_eps
from scoredistill.methods.method import MethodConfig, Values
from scoredistill.methods.noise import asset_noise
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.randomness import gaussian

CLAMP = 1e-8
"""Added to the mean |eps_g - kappa|, as in the official code."""


@dataclass
class NoiseMap:
    """The state of a run: its map of noise, for flat images one [B C h w], for views [1 C 2h 2w] of the whole turn."""

    noise: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"noise": self.noise}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.noise = state["noise"]


@dataclass(frozen=True)
class CFD(MethodConfig):
    """Consistent Flow Distillation: grad = w(t) [eps_g(x_t, t, y) - kappa] / mean |eps_g - kappa|.

    Yan et al. 2025, official code (configs/cfd/2d.yaml): t falls linearly and kappa is fixed, which gives the
    clean-flow ODE. With `churn` = gamma, kappa <- sqrt(1 - gamma) kappa + sqrt(gamma) N(0, I) at every step, which
    gives its SDE. `normalize` is the code's weight "dmd"; the mean is over each image. Differs from the paper: all
    views read one map of noise according to their direction, an option of the official code, whereas the paper
    renders noise attached to the surface. Preset `paper` uses the scene of the code's sd-stage1.yaml without its
    scale of 75, its faster decrease of t at the beginning, and its losses on decoded pixels and on the smoothness
    of normals.
    """

    scale: GuidanceScale = 8.0  # guidance scale, null + scale (text - null)
    churn: Fraction = 0.0  # share of fresh noise mixed into the fixed noise at every step
    normalize: bool = True  # divide the gradient of each image by its mean absolute value
    t_min: DiffusionTime = 0.02  # diffusion time at the end of the run
    t_max: DiffusionTime = 0.98  # diffusion time at the start of the run
    weight: Weight = "constant"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    TOYBOX: ClassVar[Values] = {"scale": 2.5}
    # The clean flow itself, dx = (eps_g - kappa) dsbar: its steps in all contract x by sbar(t_min) / sbar(t_max).
    TOYBOX_FLAT: ClassVar[Values] = {"normalize": False, "weight": "sbar"}
    TOYBOX_IMAGE: ClassVar[Values] = {"descent": 4.5, "falling": False, "noise": 0.0}
    front_deg: ClassVar[float] = 30.0
    negative_prompt: ClassVar[str] = (
        "lack details, ugly, oversmoothed, bad structure, out of focus, blurry, cartoon, oversaturated, foggy, hazy, "
        "ugly, bad anatomy, malformed, pixelated obscure, unnatural colors, dull, unclear, lowres, low quality, "
        "deformed, dehydrated"
    )

    citation: ClassVar[str] = """@inproceedings{yan2025consistent,
  title     = {Consistent Flow Distillation for Text-to-3D Generation},
  author    = {Yan, Runjie and Chen, Yinbo and Wang, Xiaolong},
  booktitle = {International Conference on Learning Representations},
  year      = {2025}
}"""

    def start(self) -> NoiseMap:
        """The state of a new run; its noise is drawn at the first step."""
        return NoiseMap()

    @torch.no_grad()
    def __call__(self, query: Query, x: X) -> Distilled:
        schedule = query.prior.schedule
        t = schedule.snap(timesteps.annealed(self.t_max, self.t_min)(query, len(x)))
        kappa = self.noise(query, x)
        noisy = Noisy(x, t, t, kappa, schedule.diffuse(x, kappa, t))
        eps = guided_eps(query.prior, noisy.x_t, t, query.conditions, self.scale)
        difference = eps - kappa
        if self.normalize:
            difference = difference / (difference.abs().flatten(1).mean(1).reshape(-1, 1, 1, 1) + CLAMP)
        grad = reduced(WEIGHTS[self.weight](schedule, t, x) * difference, self.reduction)
        return Distilled(grad, probe=probe(query, noisy, eps))

    def noise(self, query: Query, x: X) -> X:
        """kappa, for each view a window of the noise map that moves with its direction; `churn` renews the map.

        Yan et al. 2024 (Flow Score Distillation), the "worldmap" of CFD's official code: of the map [C 2h 2w] of the
        whole turn, a view at azimuth a and elevation e sees [h w] from column 2w a / 2 pi and row -h e / pi.
        """
        state = query.state if isinstance(query.state, NoiseMap) else self.start()
        if state.noise is None:
            flat = query.cameras is None
            state.noise = asset_noise(query, x) if flat else asset_noise(query, x.repeat(1, 1, 2, 2))[:1]
        elif self.churn:
            fresh = gaussian(state.noise, query.rng)
            state.noise = math.sqrt(1 - self.churn) * state.noise + math.sqrt(self.churn) * fresh
        if query.cameras is None:
            return state.noise
        h, w = x.shape[-2:]
        columns = (query.cameras.azimuth * (w / math.pi)).round().long() % (2 * w)
        rows = (-query.cameras.elevation * (h / math.pi)).round().long() % h
        offsets = zip(rows.tolist(), columns.tolist(), strict=True)
        return torch.cat([state.noise.roll((-row, -column), (-2, -1))[..., :h, :w] for row, column in offsets])
