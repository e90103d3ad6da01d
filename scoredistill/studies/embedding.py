"""Points of many dimensions: a map of them in the plane, and how well they keep to their groups.

N points   D their dimension   P, Q   joint probabilities of being neighbors, there and in the plane   [N N]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Points = Float[Tensor, "N D"]

_BISECTIONS = 50  # of the width of each Gaussian: more than double precision resolves
_EARLY = 0.25  # share of the descent with exaggerated attraction (their section 3.4)
_EXAGGERATION = 4.0
_LEAST = 1e-12  # probability that a logarithm and a quotient can bear


def tsne(points: Points, *, perplexity: float = 15.0, steps: int = 600, seed: int = 0) -> Float[Tensor, "N 2"]:
    """Exact t-SNE (van der Maaten and Hinton 2008, algorithm 1), in float64: descends KL(P || Q) from small noise.

    P = (p_j|i + p_i|j) / 2N, p_j|i from Gaussians of the given perplexity; Q from Student's t of one degree of
    freedom. The gradient is 4 sum_j (P_ij - Q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2) (their eq. 5). ValueError for a
    perplexity that so few points cannot have.
    """
    n = len(points)
    if not 1 < perplexity < n - 1:
        raise ValueError(f"t-SNE of {n} points needs a perplexity above 1 and below {n - 1}, got {perplexity:g}")
    p = _neighbors(squared_distances(points).numpy(), perplexity)
    p = np.maximum((p + p.T) / (2 * n), _LEAST)
    y = 1e-4 * np.random.default_rng(seed).standard_normal((n, 2))
    rate, velocity, gain = n / _EXAGGERATION, np.zeros_like(y), np.ones_like(y)
    for step in range(steps):
        early = step < _EARLY * steps
        affinity = 1 / (1 + ((y[:, None] - y) ** 2).sum(-1))
        np.fill_diagonal(affinity, 0)
        q = np.maximum(affinity / affinity.sum(), _LEAST)
        pull = ((_EXAGGERATION if early else 1.0) * p - q) * affinity
        slope = 4 * (pull.sum(1)[:, None] * y - pull @ y)
        gain = np.where(slope * velocity < 0, gain + 0.2, 0.8 * gain).clip(min=0.01)  # their footnote: Jacobs 1988
        velocity = (0.5 if early else 0.8) * velocity - rate * gain * slope
        y = y + velocity
        y -= y.mean(0)
    return torch.from_numpy(y)


def _neighbors(squared: np.ndarray, perplexity: float) -> np.ndarray:
    """p_j|i ~ exp(-b_i |x_i - x_j|^2), each b_i bisected until the entropy of the row is log perplexity."""
    n = len(squared)
    squared = squared / squared.mean()
    low, high = np.zeros((n, 1)), np.full((n, 1), np.inf)
    b, p = np.ones((n, 1)), np.zeros_like(squared)
    for _ in range(_BISECTIONS):
        logits = np.where(np.eye(n, dtype=bool), -np.inf, -b * squared)
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        wide = -(p * np.log(np.maximum(p, _LEAST))).sum(1, keepdims=True) > np.log(perplexity)
        low, high = np.where(wide, b, low), np.where(wide, high, b)
        b = np.where(np.isinf(high), 2 * b, (low + np.where(np.isinf(high), 0, high)) / 2)
    return p


def squared_distances(points: Points) -> Float[Tensor, "N N"]:
    """|x_i - x_j|^2 between all points, in float64 on the CPU."""
    points = points.detach().double().cpu()
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()


@dataclass(frozen=True)
class Separation:
    """How far groups stand apart: 1 and chance if not at all, 0 and 1 if fully."""

    ratio: float  # mean distance of two points of one group / of two points of different groups
    nearest: float  # how often a point's nearest neighbor is of its own group


def separation(points: Points, group: Int[Tensor, "N"]) -> Separation:
    """The separation of points by the number of their group; ValueError without pairs of both sorts."""
    distances = squared_distances(points).sqrt()
    return _separation(distances, group)


def shuffled(points: Points, group: Int[Tensor, "N"], *, count: int, seed: int = 0) -> list[Separation]:
    """The separations of the same points under `count` random permutations of their groups: what chance gives."""
    distances, rng = squared_distances(points).sqrt(), torch.Generator().manual_seed(seed)
    return [_separation(distances, group[torch.randperm(len(group), generator=rng)]) for _ in range(count)]


def _separation(distances: Tensor, group: Tensor) -> Separation:
    others = ~torch.eye(len(group), dtype=torch.bool)
    same = group[:, None] == group
    if not bool((same & others).any()) or bool(same.all()):
        raise ValueError("a separation needs two groups, and two points in one of them")
    nearest = distances.masked_fill(~others, torch.inf).argmin(1)
    ratio = distances[same & others].mean() / distances[~same].mean()
    return Separation(float(ratio), float((group[nearest] == group).double().mean()))
