"""The common part of priors with a published denoiser: space, time, learner."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.priors.diffusers.denoisers import ATTENTION, Denoiser
from scoredistill.priors.diffusers.latents import Space
from scoredistill.priors.diffusers.text import Embedded
from scoredistill.priors.low_rank_learner import LoraLearner, Start
from scoredistill.priors.network import NetworkPrior, Time, X
from scoredistill.priors.parametrization import Prediction
from scoredistill.schedule import NoiseSchedule


class PublishedPrior(NetworkPrior):
    """A published denoiser with its space and its noise schedule; subclasses define the conditions."""

    def __init__(self, net: nn.Module, denoiser: Denoiser, space: Space, levels: tuple[NoiseSchedule, Prediction]):
        self.net, self.denoiser, self.space = net, denoiser, space
        self.schedule: NoiseSchedule = levels[0]
        self.prediction: Prediction = levels[1]
        self.embedding = denoiser.width(net)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.net.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which the network runs."""
        return next(self.net.parameters()).dtype

    def encode(self, rgb: Float[Tensor, "B 3 H W"], rng: torch.Generator | None = None) -> X:
        """Pixels of any size to x; for latents a sample of the posterior drawn with `rng`, without it the mean."""
        return self.space.encode(rgb, rng)

    def decode(self, x: X) -> Float[Tensor, "B 3 H W"]:
        """x to pixels."""
        return self.space.decode(x)

    def output(
        self, net: nn.Module, x_t: X, t: Time, condition: Embedded, view: Float[Tensor, "B E"] | None = None
    ) -> X:
        """The prediction of `net`, which has the structure of `self.net`; a learner also conditions it on `view`."""
        return self.denoiser(net, x_t, self.time(t), condition, self.space.size, view)

    def time(self, t: Time) -> Time:
        """The time input of the network: the timestep index of `t`, or for a flow 1000 sigma(t)."""
        if self.prediction == "flow":
            return self.schedule.steps * self.schedule.sigma(t, torch.empty(len(t), dtype=torch.float64))
        return (self.schedule.snap(t) * self.schedule.steps).round()

    def adapted(self, layer: str) -> bool:
        """Whether a learner adapts the layer: the projections of all attention layers."""
        return layer.endswith(ATTENTION)

    def learner(self, *, rank: int = 4, lr: float = 1e-4, seed: int = 0, start: Start = "prior") -> LoraLearner:
        """A second score that starts as this one and is trained on renders (VSD, ESD); `seed` of its adapters.

        ValueError if the network has LoRA adapters that are not fused.
        """
        if any(hasattr(layer, "base_layer") for layer in self.net.modules()):
            raise ValueError(
                "the network has LoRA adapters that are not fused: call pipeline.fuse_lora() and "
                "pipeline.unload_lora_weights() before from_pipeline"
            )
        from scoredistill.priors.diffusers.learner import peft_adapters

        return LoraLearner(self, rank=rank, lr=lr, seed=seed, start=start, grow=peft_adapters)
