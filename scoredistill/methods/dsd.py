"""DSD, Diverse Score Distillation (Xu et al. 2024): every asset follows the ODE of its own noise.

eps*     the fixed per-asset noise, where the ODE starts at the top time T      [B C h w]
grid     T (1 - k / K), k = 0 ... K - 1, the times of a K-step sampler          [K]
e_k      noise prediction at the k-th point x_k of the ODE's DDIM trajectory    [B C h w]
r        second time, at which the direction of the ODE is read                 [B]
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoredistill.config import DiffusionTime, Fraction, GuidanceScale, Iterations
from scoredistill.contracts import Learner, Query
from scoredistill.methods import noise, timesteps, weights
from scoredistill.methods.distillation import Distillation, NoiseRule, Reduction, SecondTimeRule, Time, X
from scoredistill.methods.guidance import guided, guided_at_second_time, guided_eps
from scoredistill.methods.method import DistillationConfig, Values
from scoredistill.methods.noise import asset_noise
from scoredistill.methods.weights import WEIGHTS, Weight
from scoredistill.schedule import NoiseSchedule

End = Literal["grid", "exact"]
Rounding = Literal["floor", "ceil"]
LAWS = {"sqrt": math.sqrt, "linear": float}


@dataclass
class Trajectories:
    """The state of a run: points x_k and predictions e_k computed so far, by step k, asset and condition.

    Each entry is [2 C h w]. Conditions repeat during a run, so that most steps compute nothing.
    """

    entries: dict[tuple[int, int, str], Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return {"keys": [list(key) for key in self.entries], "values": list(self.entries.values())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        keys = ((int(k), int(asset), str(condition)) for k, asset, condition in state["keys"])
        self.entries = dict(zip(keys, state["values"], strict=True))


@dataclass(frozen=True)
class DSD(DistillationConfig):
    """Diverse Score Distillation: grad = w(t) [eps_g(x_t, t, y) - eps_c(x_r, r, y)],  r = t + delta (t - t_min).

    Xu et al. 2024, algorithm 3: x_t and x_r are x with the noise kappa that the asset's own ODE predicts at r; the
    ODE is cached for each condition. The noise sources "random" and "fixed" are the ablation of their table 3. t
    falls according to `law`. Differs from the paper: t, w and the law are those of the official code, which uses
    `delta_mode` "random" (delta times U[0, 1)) and `ode_end` "exact"; r never exceeds the last time. Differs from
    that code in preset `paper`: the convexity loss, which has weight 1 throughout and is not clamped, is computed
    in the camera's frame, and results are rendered as plain albedo, not under diffuse light.
    """

    scale: GuidanceScale = 7.5  # guidance scale, null + scale (text - null)
    reference_scale: GuidanceScale = 1.0  # guidance scale of the reference
    ode_scale: GuidanceScale = 7.5  # guidance scale of the asset's ODE
    ode_steps: Iterations = 10  # DDIM steps of the asset's ODE
    ode_end: End = "grid"  # time of the ODE's noise prediction: a point of its grid, or exactly the second time
    rounding: Rounding = "floor"  # which neighboring grid point: floor the noisier, ceil the cleaner one
    noise_source: Literal["ode", "random", "fixed"] = "ode"  # where kappa comes from
    delta: Fraction = 0.1  # distance r - t, in units of t - t_min
    delta_mode: Literal["fixed", "random", "grid"] = "fixed"  # delta, delta times U[0, 1), or a step of the ODE's grid
    t_min: DiffusionTime = 0.32  # diffusion time at the end of the run
    t_max: DiffusionTime = 0.98  # diffusion time at the start of the run
    law: Literal["sqrt", "linear"] = "sqrt"  # how t falls with progress: by its square root, or linearly
    weight: Weight = "sigma_squared"  # w(t): sigma / alpha, sigma^2 or 1
    reduction: Reduction = "sum_over_latent"  # divide the gradient of a batch by B, B C h w, 1, or B times its norm

    OFFICIAL: ClassVar[Values] = {"delta_mode": "random", "ode_end": "exact"}
    TOYBOX: ClassVar[Values] = {
        "scale": 2.5,
        "reference_scale": 2.5,  # as in algorithm 2: below the target's, the rest is CSD and burns free pixels
        "ode_scale": 2.5,
        "delta": 0.5,  # larger than the paper's: only 1 / sbar_t - 1 / sbar_r removes noise from free pixels
        "delta_mode": "fixed",
        "ode_end": "grid",
    }
    # Views that share a scene stray from the ODE of each. For a mode of spread s, a reference as guided as the target
    # pulls back only while sbar_t sbar_r > s^2 and pushes on below (tests/test_dsd.py): whole shapes at nearly all t.
    TOYBOX_3D: ClassVar[Values] = {"reference_scale": 1.5}
    # Algorithm 2, which is DDIM in as many steps as the ODE has: descent by sbar / ode_steps in all, down to t = 0.
    TOYBOX_FLAT: ClassVar[Values] = {
        "delta_mode": "grid",
        "ode_steps": 20,
        "law": "linear",
        "weight": "sbar",
        "t_min": 0.0,
        "t_max": 1.0,
    }
    TOYBOX_IMAGE: ClassVar[Values] = {"descent": 20.0, "falling": False, "noise": 0.0}
    # The same rule with the picture and the pose in place of the text; t falls through SDS's whole range.
    PICTURE: ClassVar[Values] = {"scale": 3.0, "ode_scale": 3.0, "t_min": 0.2, "t_max": 0.85}
    view_prompting: ClassVar[str] = "perp-neg"
    gradient_norm: ClassVar[float] = 0.15

    citation: ClassVar[str] = """@article{xu2024diverse,
  title     = {Diverse Score Distillation},
  author    = {Xu, Yanbo and Srinivasa, Jayanth and Liu, Gaowen and Tulsiani, Shubham},
  journal   = {arXiv preprint arXiv:2412.06780},
  year      = {2024}
}"""

    def build(self, learner: Learner | None = None) -> Distillation:
        inferred = ode_direction(self.ode_scale, self.ode_steps, self.ode_end, self.rounding)
        sources = {"ode": inferred, "random": noise.fresh, "fixed": noise.fixed}
        random, grid = self.delta_mode == "random", self.delta_mode == "grid"
        proportional = timesteps.proportional(self.delta, self.t_min, random=random, distinct=True)
        return Distillation(
            time=timesteps.annealed(self.t_max, self.t_min, LAWS[self.law]),
            second_time=one_grid_step_above(self.ode_steps) if grid else proportional,
            noise=sources[self.noise_source],
            target=guided(self.scale),
            reference=guided_at_second_time(self.reference_scale),
            weight=WEIGHTS[self.weight],
            reduction=self.reduction,
            start=Trajectories,
        )


def one_grid_step_above(steps: int) -> SecondTimeRule:
    """r = t + T / steps, at most T, the last time of the table (Xu et al. 2024, algorithm 2)."""

    def rule(query: Query, t: Time) -> Time:
        top = 1 - 1 / query.prior.schedule.steps
        return (t + top / steps).clamp(max=top)

    return rule


def ode_direction(scale: float = 7.5, steps: int = 10, end: End = "grid", rounding: Rounding = "floor") -> NoiseRule:
    """kappa = eps_g(x_r, r), where DDIM from eps* reaches x_r in at most `steps` steps (Xu et al. 2024).

    "grid": r snapped to the grid as in their algorithm 2, "floor" to the noisier point, "ceil" to the cleaner one; the
    predictions are cached, so that a step whose points are known evaluates nothing. "exact": as in their 3D code one
    more step from the last noisier point to r itself, and one more evaluation.
    """
    place = before if end == "exact" else {"floor": noisier, "ceil": cleaner}[rounding]

    def rule(query: Query, x: X, t: Time, r: Time) -> X:
        times = ode_grid(query.prior.schedule, steps)
        k, row = place(times, r), torch.arange(len(x))
        points, predictions = trajectory(query, asset_noise(query, x), times[: int(k.max()) + 1], scale)
        eps = predictions[k, row]
        if end == "grid":
            return eps
        x_r = query.prior.schedule.move(points[k, row], eps, times[k], r)
        return guided_eps(query.prior, x_r, r, query.conditions, scale)

    return rule


def ode_grid(schedule: NoiseSchedule, steps: int) -> Float[Tensor, "K"]:
    """T, T (1 - 1/K), ..., T/K in the table, T its last time: 999, 899, ..., 99 for ten steps of a thousand."""
    if steps < 1:
        raise ValueError(f"an ODE needs at least one step, got {steps}")
    top = schedule.snap(torch.ones(1, dtype=torch.float64))
    return schedule.snap(top * torch.arange(steps, 0, -1, dtype=torch.float64) / steps)


def noisier(times: Float[Tensor, "K"], r: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The index on the grid of the last point at or above r."""
    return (times[:, None] >= r).sum(0) - 1


def cleaner(times: Float[Tensor, "K"], r: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The index on the grid of the first point at or below r; its last point where there is none."""
    return (times[:, None] > r).sum(0).clamp(max=len(times) - 1)


def before(times: Float[Tensor, "K"], r: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The index on the grid of the last point above r; its first point where there is none."""
    return ((times[:, None] > r).sum(0) - 1).clamp(min=0)


def trajectory(
    query: Query, start: X, times: Float[Tensor, "K"], scale: float
) -> tuple[Float[Tensor, "K B C h w"], Float[Tensor, "K B C h w"]]:
    """Points x_k and predictions e_k of DDIM from `start` along descending `times`; x_{k+1} = move(x_k, e_k).

    Those of each row are cached in the state; where one is missing, the prior is evaluated once for all rows.
    """
    schedule = query.prior.schedule
    cache = query.state.entries if isinstance(query.state, Trajectories) else {}
    levels = [t.expand(len(start)) for t in times]
    points: list[Tensor] = []
    predictions: list[Tensor] = []
    for k, t in enumerate(levels):
        keys = _cache_keys(query, len(start), k)
        if keys and all(key in cache for key in keys):
            x_t, eps = torch.stack([cache[key] for key in keys], 1)
        else:
            x_t = schedule.move(points[-1], predictions[-1], levels[k - 1], t) if k else start
            eps = guided_eps(query.prior, x_t, t, query.conditions, scale)
            cache.update(zip(keys, torch.stack([x_t, eps], 1), strict=False))
        points.append(x_t)
        predictions.append(eps)
    return torch.stack(points), torch.stack(predictions)


def _cache_keys(query: Query, batch: int, k: int) -> list[tuple[int, int, str]]:
    """Keys of x_k and e_k of each row; none where conditions never repeat or views depend on each other."""
    conditions = query.conditions.keys
    if conditions is None or query.prior.views > 1:
        return []
    assets = range(batch) if query.cameras is None else [0] * batch
    return [(k, asset, condition) for asset, condition in zip(assets, conditions, strict=True)]


def dsd_2d(
    query: Query, like: X, *, scale: float = 7.5, steps: int, ode_steps: int = 10, rounding: Rounding = "floor"
) -> Iterator[X]:
    """DSD of flat images by plain gradient descent, which for `steps` = `ode_steps` is DDIM: yields x after every step.

    x <- x - (ode_steps / steps) sbar_t [eps_g(x_t, t) - eps_g(x_r, r)],  t = T (1 - i / steps),  r = t + T / ode_steps,
    from x = D(eps*, T). Xu et al. 2024, algorithm 2. Differs from the paper: start, step and grid are those that its
    proof needs, not those that it prints. `like` gives shape and precision.
    """
    schedule, conditions = query.prior.schedule, query.conditions
    top = schedule.snap(torch.ones(len(like), dtype=torch.float64))
    falling = timesteps.annealed(float(top[0]), 0.0)
    method = Distillation(
        time=falling,
        second_time=lambda query, t: falling(query, len(t)) + top / ode_steps,  # from the exact t, before it is snapped
        noise=ode_direction(scale, ode_steps, "grid", rounding),
        target=guided(scale),
        reference=guided_at_second_time(scale),
        weight=weights.sbar,
    )
    query = replace(query, state=Trajectories() if query.state is None else query.state)
    x_T = asset_noise(query, like)
    x = schedule.clean(x_T, guided_eps(query.prior, x_T, top, conditions, scale), top)
    for step in range(1, steps + 1):
        answer = method(replace(query, progress=step / steps), x)
        x = x - ode_steps / steps * len(x) * answer.grad
        yield x
