"""What a volume stands before while it is trained on a model that has seen pictures of everything.

R rays   v unit direction of a ray   Y(v) its nine spherical harmonics
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.render.harmonics import basis
from scoredistill.scenes.field import bias_free

DEGREE, HIDDEN = 2, 16


@dataclass(frozen=True)
class EnvironmentSettings:
    """How the environment is learned (SDI's official configuration)."""

    lr: float = 1e-3
    random_share: float = 0.0  # of the training renders, those that stand before one random color; DSD, VSD, ASD: .5


class Environment(nn.Module):
    """A learned background, rgb(v) = sigmoid(mlp(Y(v))), of two hidden layers (threestudio; METHODS 7.2)."""

    def __init__(self, settings: EnvironmentSettings, rng: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        self.network = bias_free(((DEGREE + 1) ** 2, HIDDEN, HIDDEN, 3), rng)

    def forward(self, v: Float[Tensor, "R 3"], rng: torch.Generator) -> Float[Tensor, "R 3"]:
        """What training renders stand before: the environment, or by chance a color drawn for the whole batch."""
        chance, *color = torch.rand(4, generator=rng).tolist()
        if chance < self.settings.random_share:
            return v.new_tensor(color).expand_as(v)
        return torch.sigmoid(self.network(basis(v, DEGREE)))
