"""Noise schedules: the scales of signal and noise at each diffusion time.

t         diffusion time in [0, 1]; index floor(1000 t) of the table for a 1000-step prior (0.98 -> 980)
alpha     signal scale, sigma noise scale:     x_t = alpha x + sigma eps
sbar      rescaled noise level sigma / alpha:  x_t / alpha = x + sbar eps
abar      alpha^2 for variance-preserving schedules (the DDPM quantity)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Time = Float[Tensor, "B"]
X = Float[Tensor, "B *S"]

_ROUNDING = 1e-6  # 0.29 * 100 is 28.999999999999996: a fraction that stands for an index must reach it


@dataclass(frozen=True)
class NoiseSchedule:
    """A table of (alpha, sigma) at N evenly spaced times, the only source of these values in the methods."""

    alphas: Float[Tensor, "N"]
    sigmas: Float[Tensor, "N"]

    def __post_init__(self) -> None:
        sbars = self.sigmas / self.alphas
        if not bool((sbars[1:] > sbars[:-1]).all()):
            raise ValueError("in a noise schedule, sigma / alpha must grow strictly with t and be finite")

    @property
    def steps(self) -> int:
        """Number of tabulated times."""
        return len(self.alphas)

    def snap(self, t: Time) -> Time:
        """The largest tabulated time at or below `t`, clamped to the table: snap(t) = index / N."""
        index = torch.floor(t.double() * self.steps + _ROUNDING).clamp(0, self.steps - 1)
        return index / self.steps

    def alpha(self, t: Time, like: Tensor) -> Tensor:
        """alpha(t), shaped to broadcast over `like` [B, ...], in its dtype."""
        return self._lookup(self.alphas, t, like)

    def sigma(self, t: Time, like: Tensor) -> Tensor:
        """sigma(t), shaped to broadcast over `like` [B, ...], in its dtype."""
        return self._lookup(self.sigmas, t, like)

    def sbar(self, t: Time, like: Tensor) -> Tensor:
        """sigma(t) / alpha(t), the only quantity of the schedule that most methods need."""
        return self._lookup(self.sigmas / self.alphas, t, like)

    def diffuse(self, x: X, eps: X, t: Time) -> X:
        """x_t = alpha x + sigma eps (Ho et al. 2020, eq. 4)."""
        return self.alpha(t, x) * x + self.sigma(t, x) * eps

    def clean(self, x_t: X, eps: X, t: Time) -> X:
        """One-step data prediction D = x_t / alpha - sbar eps (Lukoianov et al. 2024, eq. 5)."""
        return x_t / self.alpha(t, x_t) - self.sbar(t, x_t) * eps

    def noise_between(self, x: X, x_t: X, t: Time) -> X:
        """The noise that turns `x` into `x_t`: eps = (x_t / alpha - x) / sbar; requires sigma(t) > 0."""
        return (x_t / self.alpha(t, x) - x) / self.sbar(t, x)

    def move(self, x_t: X, eps: X, t: Time, s: Time) -> X:
        """One DDIM step from t to s, in either direction (Song et al. 2021; Lukoianov et al. 2024, eq. 2).

        x_s / alpha_s = x_t / alpha_t + (sbar_s - sbar_t) eps
        """
        rescaled = x_t / self.alpha(t, x_t) + (self.sbar(s, x_t) - self.sbar(t, x_t)) * eps
        return self.alpha(s, x_t) * rescaled

    def time_of(self, sbar: float) -> float:
        """The largest tabulated t with a noise level of at most `sbar`; converts times from one prior to another."""
        below = int((self.sigmas / self.alphas <= sbar).sum())
        return max(below - 1, 0) / self.steps

    def _lookup(self, table: Tensor, t: Time, like: Tensor) -> Tensor:
        index = (self.snap(t) * self.steps).round().long()
        value = table[index.to(table.device)].to(like.device, like.dtype)
        return value.reshape(-1, *[1] * (like.ndim - 1))


def from_abar(abar: Float[Tensor, "N"]) -> NoiseSchedule:
    """The variance-preserving schedule of cumulative products abar: alpha^2 = abar, sigma^2 = 1 - abar."""
    return NoiseSchedule(abar.sqrt(), (1 - abar).sqrt())


def scaled_linear(steps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> NoiseSchedule:
    """Stable Diffusion's schedule: betas = linspace(sqrt(start), sqrt(end))^2 (Rombach et al. 2022)."""
    betas = torch.linspace(math.sqrt(beta_start), math.sqrt(beta_end), steps, dtype=torch.float64) ** 2
    return from_abar(torch.cumprod(1 - betas, 0))


def cosine(steps: int = 1000) -> NoiseSchedule:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2) for t = 0, 1/N, ... (Nichol and Dhariwal 2021, without offset)."""
    angle = torch.arange(steps, dtype=torch.float64) / steps * (math.pi / 2)
    return NoiseSchedule(angle.cos(), angle.sin())


def rectified_flow(steps: int = 1000, shift: float = 1.0) -> NoiseSchedule:
    """alpha = 1 - sigma, sigma = s t / (1 + (s - 1) t) for t = 0, 1/N, ... < 1.

    An Euler step of the flow is then `move`. s = `shift` > 1 puts more of the times at high noise: 1 is Liu et al.
    2023, 3 is Stable Diffusion 3 (Esser et al. 2024, eq. 23).
    """
    t = torch.arange(steps, dtype=torch.float64) / steps
    sigma = shift * t / (1 + (shift - 1) * t)
    return NoiseSchedule(1 - sigma, sigma)


def karras(steps: int = 1000, sbar_min: float = 0.002, sbar_max: float = 80.0, rho: float = 7.0) -> NoiseSchedule:
    """Variance exploding, sbar = (a + u (b - a))^rho, alpha = 1 (Karras et al. 2022, eq. 5)."""
    u = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sbar_min ** (1 / rho), sbar_max ** (1 / rho)
    sbar = (low + u * (high - low)) ** rho
    return NoiseSchedule(torch.ones_like(sbar), sbar)
