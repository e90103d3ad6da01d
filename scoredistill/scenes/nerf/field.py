"""A density and an albedo at every point of a cube: a hash grid read by two small networks.

N points in world coordinates   density per unit length   the blob is a soft ball that the field starts from
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoredistill.kernels import hashgrid, perceptron
from scoredistill.kernels.hashgrid import FEATURES, GridLayout, encode
from scoredistill.scenes.nerf.config import Normals

TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
"""Directions k with sum 0 and sum k k^T = 4 I: the fewest values that give a gradient."""


class HashField(nn.Module):
    """density = softplus(mlp(f) + blob_strength (1 - |x| / blob_radius)), albedo = sigmoid(mlp(f)).

    Poole et al. 2023 (density blob), Mueller et al. 2022 (hash grid); one hidden layer, ReLU, no biases.
    """

    def __init__(
        self,
        layout: GridLayout,
        rng: torch.Generator,
        *,
        bounds: float = 1.0,
        hidden: int = 64,
        blob_strength: float = 10.0,
        blob_radius: float = 0.5,
        normals: Normals = "finite",
    ) -> None:
        super().__init__()
        self.layout, self.bounds, self.normals = layout, bounds, normals
        self.blob_strength, self.blob_radius = blob_strength, blob_radius
        self.active = layout.levels  # active levels; the scene lowers it at the start of a run
        table = torch.empty(sum(layout.sizes), FEATURES).uniform_(-1e-4, 1e-4, generator=rng)
        self.table = nn.Parameter(table)
        self.density_mlp = bias_free((layout.width, hidden, 1), rng)
        self.albedo_mlp = bias_free((layout.width, hidden, 3), rng)

    def density(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Volume density per unit length, >= 0."""
        return nn.functional.softplus(self._logit(points, self._features(points)))

    def color(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Albedo in [0, 1]."""
        return self._albedo(self._features(points))

    def evaluate(self, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
        """Density and albedo from one encoding."""
        features = self._features(points)
        density = nn.functional.softplus(self._logit(points, features))
        return density, self._albedo(features)

    def normal(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """n = -grad density / |grad density|, by the setting `normals`, differentiable in the parameters.

        Both ways differentiate the logit below the softplus: a monotone map leaves the direction, and the
        gradient of a vanishing density would vanish with it.
        """
        gradient = self._finite(points) if self.normals == "finite" else self._analytic(points)
        return -nn.functional.normalize(gradient, dim=-1, eps=1e-6)

    def _finite(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """sum_k k f(x + h k) = 4 h grad f + O(h^2), at the distance of a cell of the finest active level."""
        corners = points.new_tensor(TETRAHEDRON)
        step = 2 * self.bounds / self.layout.resolutions[self.active - 1] / 3**0.5
        around = (points[None] + step * corners[:, None]).flatten(0, 1)
        logit = self._logit(around, self._features(around)).view(4, -1)
        return (logit.T @ corners) / (4 * step)

    def _analytic(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """(df/dx)^T d mlp / df - blob_strength / blob_radius x / |x|, f the hash grid's features."""
        with torch.no_grad():  # the network's gradient is constant in the features almost everywhere
            features = self._features(points)
        grad = perceptron.input_gradient(features, *_matrices(self.density_mlp), torch.ones_like(points[:, :1]))
        slope = hashgrid.input_gradient(self._unit(points), self.table, grad, self.layout, self.active)
        slope = slope / (2 * self.bounds)
        return slope - self.blob_strength / self.blob_radius * nn.functional.normalize(points, dim=-1)

    def _unit(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Points in the coordinates of the grid's cube [0, 1]^3."""
        return points / (2 * self.bounds) + 0.5

    def _features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N features"]:
        return encode(self._unit(points), self.table, self.layout, self.active)

    def _logit(self, points: Float[Tensor, "N 3"], features: Float[Tensor, "N features"]) -> Float[Tensor, "N"]:
        blob = self.blob_strength * (1 - points.norm(dim=-1) / self.blob_radius)
        return _apply(self.density_mlp, features)[:, 0] + blob

    def _albedo(self, features: Float[Tensor, "N features"]) -> Float[Tensor, "N 3"]:
        return torch.sigmoid(_apply(self.albedo_mlp, features))


def bias_free(widths: Sequence[int], rng: torch.Generator) -> nn.Sequential:
    """Linear layers without biases and ReLUs between them, drawn from `rng` by the usual rule U(+-1 / sqrt(fan_in))."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layer = nn.Linear(inputs, outputs, bias=False)
        nn.init.uniform_(layer.weight, -(inputs**-0.5), inputs**-0.5, generator=rng)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _apply(network: nn.Sequential, features: Float[Tensor, "N features"]) -> Float[Tensor, "N outputs"]:
    """The network's output for the features, by its kernel."""
    return perceptron.perceptron(features, *_matrices(network))


def _matrices(network: nn.Sequential) -> tuple[Tensor, Tensor]:
    """The weights of both layers."""
    first, second = network[0].weight, network[2].weight
    assert isinstance(first, Tensor) and isinstance(second, Tensor)
    return first, second
