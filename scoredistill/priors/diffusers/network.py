"""What published denoisers share, whatever their condition: space, time, learner."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.priors.diffusers.denoisers import ATTENTION, Denoiser
from scoredistill.priors.diffusers.latents import Space
from scoredistill.priors.diffusers.text import Embedded
from scoredistill.priors.low_rank_learner import LoraLearner
from scoredistill.priors.network import NetworkPrior, Time, X
from scoredistill.priors.parametrization import Prediction
from scoredistill.schedule import NoiseSchedule


class PublishedPrior(NetworkPrior):
    """A published denoiser with its space and its noise schedule; its conditions come with the kind of prior."""

    def __init__(self, net: nn.Module, denoiser: Denoiser, space: Space, levels: tuple[NoiseSchedule, Prediction]):
        self.net, self.denoiser, self.space = net, denoiser, space
        self.schedule: NoiseSchedule = levels[0]
        self.prediction: Prediction = levels[1]
        self.embedding = denoiser.width(net)

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> X:
        """Pixels of any size to x; of latents a sample of the posterior drawn from `rng`, without it the mean."""
        return self.space.encode(rgb, rng)

    def decode(self, x: X) -> Float[Tensor, "B 3 H W"]:
        """x to pixels."""
        return self.space.decode(x)

    def output(
        self, net: nn.Module, x_t: X, t: Time, condition: Embedded, view: Float[Tensor, "B E"] | None = None
    ) -> X:
        """What `net`, of the structure of the prior's own, predicts; for a learner conditioned on `view` too."""
        return self.denoiser(net, x_t, self.time(t), condition, self.space.size, view)

    def time(self, t: Time) -> Time:
        """The network's own time: the index of `t`, or of a flow 1000 sigma(t)."""
        if self.prediction == "flow":
            return self.schedule.steps * self.schedule.sigma(t, torch.empty(len(t), dtype=torch.float64))
        return (self.schedule.snap(t) * self.schedule.steps).round()

    def adapted(self, layer: str) -> bool:
        """A learner adapts the projections of every attention."""
        return layer.endswith(ATTENTION)

    def learner(self, *, rank: int = 4, lr: float = 1e-4, seed: int = 0) -> LoraLearner:
        """A second score that starts as this one, to be trained on renders (VSD, ESD); `seed` of its adapters."""
        from scoredistill.priors.diffusers.learner import peft_adapters

        return LoraLearner(self, rank=rank, lr=lr, seed=seed, grow=peft_adapters)
