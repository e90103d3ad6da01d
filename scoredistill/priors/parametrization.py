"""Parametrizations of the network output, converted to eps by the priors, so that methods deal with eps only.

alpha, sigma   the schedule at t;  x_t = alpha x0 + sigma eps
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from scoredistill.schedule import NoiseSchedule

Prediction = Literal["eps", "x0", "v", "flow"]
X = Float[Tensor, "B *S"]


def eps_from(prediction: Prediction, output: X, x_t: X, t: Float[Tensor, "B"], schedule: NoiseSchedule) -> X:
    """Noise from a network's output: eps = a(t) output + b(t) x_t, linear, so guidance commutes with it.

    eps: itself;  x0: (x_t - alpha x0) / sigma;
    v = alpha eps - sigma x0 (Salimans and Ho 2022): (alpha v + sigma x_t) / (alpha^2 + sigma^2);
    flow = eps - x0 (Liu et al. 2023): (x_t + alpha flow) / (alpha + sigma). For the schedules of their training,
    variance preserving and rectified flow, the divisors are one.
    """
    alpha, sigma = schedule.alpha(t, x_t), schedule.sigma(t, x_t)
    match prediction:
        case "eps":
            return output
        case "x0":
            return (x_t - alpha * output) / sigma
        case "v":
            return (alpha * output + sigma * x_t) / (alpha**2 + sigma**2)
        case "flow":
            return (x_t + alpha * output) / (alpha + sigma)


def output_from(prediction: Prediction, eps: X, x_t: X, t: Float[Tensor, "B"], schedule: NoiseSchedule) -> X:
    """The inverse of `eps_from`: the output of a network of this parametrization for the noise `eps`."""
    alpha, sigma = schedule.alpha(t, x_t), schedule.sigma(t, x_t)
    x0 = (x_t - sigma * eps) / alpha
    match prediction:
        case "eps":
            return eps
        case "x0":
            return x0
        case "v":
            return alpha * eps - sigma * x0
        case "flow":
            return eps - x0
