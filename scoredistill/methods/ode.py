"""The DDIM trajectory of an asset's own noise, whose directions DSD borrows; computed once, then remembered.

eps*     the asset's noise, where the trajectory starts at the top time T   [B C h w]
grid     T (1 - k / K), k = 0 ... K - 1, the times of a K-step sampler     [K]
e_k      noise prediction at the k-th point of the trajectory               [B C h w]
r        time at which DSD wants a direction                                [B]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.contracts import Query
from scoredistill.methods import scores, second, time
from scoredistill.methods.choices import chosen
from scoredistill.methods.distillation import Distillation, NoiseRule, Time, X
from scoredistill.methods.noise import asset_noise
from scoredistill.schedule import NoiseSchedule

End = Literal["grid", "exact"]
Rounding = Literal["floor", "ceil"]


def direction(scale: float = 7.5, steps: int = 10, end: End = "grid", rounding: Rounding = "floor") -> NoiseRule:
    """kappa = eps_g(x_r, r), x_r where DDIM from eps* stands at r after at most `steps` steps (Xu et al. 2024).

    "grid": r snapped to the grid as in their algorithm 2, "floor" to the noisier point, "ceil" to the cleaner one; the
    predictions are remembered, so that a step whose points are known asks the prior nothing. "exact": as in their 3-D
    code one more step from the last noisier point to r itself, and one more query. ValueError for less than one step.
    """
    place = chosen("rounding", rounding, {"floor": noisier, "ceil": cleaner})
    place = chosen("ode_end", end, {"grid": place, "exact": before})

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        times = grid(query.prior.schedule, steps)
        k, row = place(times, r), torch.arange(len(x))
        points, predictions = trajectory(query, asset_noise(query, x), times[: int(k.max()) + 1], scale)
        eps = predictions[k, row]
        if end == "grid":
            return eps
        x_r = query.prior.schedule.move(points[k, row], eps, times[k], r)
        return scores.guided_eps(query.prior, x_r, r, query.conditions, scale)

    return rule


def grid(schedule: NoiseSchedule, steps: int) -> Float[Tensor, "K"]:
    """T, T (1 - 1/K), ..., T/K in the table, T its last time: 999, 899, ..., 99 for ten steps of a thousand."""
    if steps < 1:
        raise ValueError(f"an ODE needs at least one step, got {steps}")
    top = schedule.snap(torch.ones(1, dtype=torch.float64))
    return schedule.snap(top * torch.arange(steps, 0, -1, dtype=torch.float64) / steps)


def noisier(times: Float[Tensor, "K"], r: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The place on the grid of the last point at or above r."""
    return (times[:, None] >= r).sum(0) - 1


def cleaner(times: Float[Tensor, "K"], r: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The place on the grid of the first point at or below r; its last point where there is none."""
    return (times[:, None] > r).sum(0).clamp(max=len(times) - 1)


def before(times: Float[Tensor, "K"], r: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The place on the grid of the last point above r; its first point where there is none."""
    return ((times[:, None] > r).sum(0) - 1).clamp(min=0)


def trajectory(
    query: Query, start: X, times: Float[Tensor, "K"], scale: float
) -> tuple[Float[Tensor, "K B C h w"], Float[Tensor, "K B C h w"]]:
    """Points x_k and predictions e_k of DDIM from `start` along descending `times`; x_{k+1} = move(x_k, e_k).

    Each row's are remembered; where one is missing, the prior is called once for all rows.
    """
    schedule, memory = query.prior.schedule, query.memory
    levels = [t.expand(len(start)) for t in times]
    points: list[Tensor] = []
    predictions: list[Tensor] = []
    for k, t in enumerate(levels):
        names = _names(query, len(start), k)
        if names and all(name in memory for name in names):
            x_t, eps = torch.stack([memory[name] for name in names], 1)
        else:
            x_t = schedule.move(points[-1], predictions[-1], levels[k - 1], t) if k else start
            eps = scores.guided_eps(query.prior, x_t, t, query.conditions, scale)
            memory.update(zip(names, torch.stack([x_t, eps], 1), strict=False))
        points.append(x_t)
        predictions.append(eps)
    return torch.stack(points), torch.stack(predictions)


def _names(query: Query, batch: int, k: int) -> list[str]:
    """What x_k and e_k of each row are remembered by; none where conditions never repeat or views depend on views."""
    keys = query.conditions.keys
    if keys is None or query.prior.views > 1:
        return []
    assets = range(batch) if query.cameras is None else [0] * batch
    return [f"ode {k} of asset {asset}, {key}" for asset, key in zip(assets, keys, strict=True)]


def dsd_2d(
    query: Query, like: X, *, scale: float = 7.5, steps: int, ode_steps: int = 10, rounding: Rounding = "floor"
) -> Iterator[X]:
    """DSD of flat images by plain gradient descent, which for `steps` = `ode_steps` is DDIM: yields x after every step.

    x <- x - (ode_steps / steps) sbar_t [eps_g(x_t, t) - eps_g(x_r, r)],  t = T (1 - i / steps),  r = t + T / ode_steps,
    from x = D(eps*, T). Xu et al. 2024, algorithm 2. Differs from the paper: start, step and grid are those that its
    proof needs, not those that it prints (METHODS 6.2). `like` gives shape and precision.
    """
    schedule, conditions = query.prior.schedule, query.conditions
    top = schedule.snap(torch.ones(len(like), dtype=torch.float64))
    falling = time.annealed(float(top[0]), 0.0)
    method = Distillation(
        time=falling,
        level=lambda query, t: falling(query, len(t)) + top / ode_steps,  # from the exact t, before it is snapped
        noise=direction(scale, ode_steps, "grid", rounding),
        target=scores.guided(scale),
        reference=second.predicted(scale),
        weight=time.sbar,
    )
    x_T = asset_noise(query, like)
    x = schedule.clean(x_T, scores.guided_eps(query.prior, x_T, top, conditions, scale), top)
    for step in range(1, steps + 1):
        answer = method(replace(query, progress=step / steps), x)
        x = x - ode_steps / steps * len(x) * answer.grad
        yield x
