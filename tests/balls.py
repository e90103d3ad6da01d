"""Fields in closed form: soft balls."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ORANGE, GREEN = (0.98, 0.5, 0.05), (0.1, 0.6, 0.2)


@dataclass
class Balls:
    """Soft balls in a cube, density = peak * sigmoid((radius - distance) / softness) of the nearest."""

    centers: Tensor
    radii: Tensor
    colors: Tensor
    peak: float = 100.0
    softness: float = 0.02
    bounds: float = 1.0

    def density(self, points: Tensor) -> Tensor:
        return self.peak * torch.sigmoid(self._depth(points).amax(1) / self.softness)

    def color(self, points: Tensor) -> Tensor:
        return self.colors[self._depth(points).argmax(1)]

    def _depth(self, points: Tensor) -> Tensor:
        return self.radii - torch.linalg.norm(points[:, None] - self.centers, dim=-1)


def ball(radius: float = 0.5, **settings: float) -> Balls:
    return Balls(torch.zeros(1, 3), torch.tensor([radius]), torch.tensor([ORANGE]), **settings)


def two_balls(second: tuple[float, float, float], radius: float) -> Balls:
    return Balls(torch.tensor([(0.0, 0, 0), second]), torch.tensor([0.4, radius]), torch.tensor([ORANGE, GREEN]))
