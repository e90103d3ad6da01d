"""A learned background of training renders, for priors trained on photographs.

R rays   v unit direction of a ray   Y(v) its nine spherical harmonics
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.render.harmonics import basis
from scoredistill.scenes.nerf.config import EnvironmentConfig
from scoredistill.scenes.nerf.field import bias_free

DEGREE, HIDDEN = 2, 16


class Environment(nn.Module):
    """A learned background, rgb(v) = sigmoid(mlp(Y(v))), of two hidden layers (threestudio)."""

    def __init__(self, config: EnvironmentConfig, rng: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.network = bias_free(((DEGREE + 1) ** 2, HIDDEN, HIDDEN, 3), rng)

    def forward(self, v: Float[Tensor, "R 3"], rng: torch.Generator) -> Float[Tensor, "R 3"]:
        """The background of training renders: the environment, or by chance one random color for the whole batch."""
        chance, *color = torch.rand(4, generator=rng).tolist()
        if chance < self.config.random_share:
            return v.new_tensor(color).expand_as(v)
        return self.color(v)

    def color(self, v: Float[Tensor, "R 3"]) -> Float[Tensor, "R 3"]:
        """The environment itself."""
        return torch.sigmoid(self.network(basis(v, DEGREE)))
