"""Priors with an exact score: mixtures of isotropic Gaussians, the ground truth in tests of the methods.

xbar = x_t / alpha, sbar = sigma / alpha; K components with means mu_k [K *S], deviations s_k [K], weights w_k [K].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Conditions, Prompt
from scoredistill.priors.parametrization import Prediction, eps_from, output_from
from scoredistill.schedule import NoiseSchedule


@dataclass(frozen=True)
class Mixture:
    """p(x) = sum_k w_k N(x; mu_k, s_k^2 I)."""

    means: Float[Tensor, "K *S"]
    stds: Float[Tensor, "K"]
    weights: Float[Tensor, "K"]

    def eps(self, xbar: Float[Tensor, "B *S"], sbar: Tensor) -> Float[Tensor, "B *S"]:
        """eps = sbar sum_k r_k (xbar - mu_k) / (s_k^2 + sbar^2), r_k the posterior of component k given xbar."""
        offset = xbar[:, None] - self.means  # [B K *S]
        variance = self.stds**2 + sbar.reshape(-1, 1) ** 2  # [B K]
        squared = offset.flatten(2).square().sum(-1)
        size = offset[0, 0].numel()
        logits = self.weights.log() - 0.5 * (squared / variance + size * (2 * math.pi * variance).log())
        share = (logits.softmax(1) / variance).reshape(*variance.shape, *[1] * (offset.ndim - 2))
        return sbar * (share * offset).sum(1)


def gaussian(mean: Float[Tensor, "*S"], std: float) -> Mixture:
    """A mixture of one component: p(x) = N(mean, std^2 I)."""
    one = torch.ones(1, dtype=mean.dtype)
    return Mixture(mean[None], std * one, one)


class AnalyticPrior:
    """A prior in closed form: `text` is the conditional distribution, `null` the unconditional one.

    `prediction`: the score is converted to that parametrization and back, as for a network of that kind.
    """

    views = 1

    def __init__(self, text: Mixture, null: Mixture, schedule: NoiseSchedule, prediction: Prediction = "eps"):
        self.text, self.null, self.schedule = text, null, schedule
        self.prediction: Prediction = prediction
        self.calls = self.rows = 0

    def encode(self, rgb: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """The identity: the mixture lives in pixel space."""
        return rgb

    def decode(self, x: Tensor) -> Tensor:
        """The identity."""
        return x

    def conditions(self, prompt: Prompt, cameras: Cameras | None, count: int) -> Conditions:
        """The two mixtures, for any prompt."""
        return Conditions(self.text, self.null, self.null, self.text, keys=("",) * count)

    def eps(self, x_t: Float[Tensor, "B *S"], t: Float[Tensor, "B"], *conditions: Mixture) -> tuple[Tensor, ...]:
        """The exact noise prediction of each mixture."""
        self.calls, self.rows = self.calls + 1, self.rows + len(conditions) * len(x_t)
        return tuple(self._eps(x_t, t, mixture) for mixture in conditions)

    def _eps(self, x_t: Tensor, t: Tensor, mixture: Mixture) -> Tensor:
        eps = mixture.eps(x_t / self.schedule.alpha(t, x_t), self.schedule.sbar(t, x_t))
        output = output_from(self.prediction, eps, x_t, t, self.schedule)
        return eps_from(self.prediction, output, x_t, t, self.schedule)
