"""From SDS to SDI to DSD on three clusters of points in the plane: a notebook, half a minute on a CPU.

    python examples/tutorial.py

The pictures and the numbers of the text go to tutorial/. Editors that support `# %%` cells run it cell by cell.
"""

# %% [markdown]
# # From SDS to SDI to DSD
#
# In this tutorial an image is a point in the plane, so we can plot all of it. The *prior* is a mixture of three
# Gaussians, so its noise prediction is known exactly. The methods are the same objects that generate 3D models: none of
# them depends on the size of the image.

# %%
from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import torch
from drawing import COLORS, Panel, write
from torch import Tensor

from scoredistill.contracts import Prompt, Query
from scoredistill.methods import noise, timesteps, weights
from scoredistill.methods.distillation import Distillation, NoiseRule, injected_noise
from scoredistill.methods.dsd import DSD, dsd_2d
from scoredistill.methods.guidance import guided, guided_eps
from scoredistill.methods.method import MethodConfig
from scoredistill.methods.sdi import SDI, cached_noise_sdi
from scoredistill.methods.sds import SDS
from scoredistill.priors.analytic import AnalyticPrior, Mixture, gaussian
from scoredistill.schedule import scaled_linear

torch.set_default_dtype(torch.float64)
FOLDER = Path("tutorial")
SEEDS = 200
numbers: dict[str, float | list[float]] = {}

# %% [markdown]
# ## 1. The prior and its samples
#
# The clusters have standard deviation 0.2 and contain 45, 30 and 25 % of the points. Without a text, the prior is one
# wide Gaussian. The schedule is Stable Diffusion's: `x_t = alpha x + sigma eps`, and `sbar = sigma / alpha`.

# %%
MODES = torch.tensor([[-1.2, 1.2], [1.6, 0.6], [0.2, -1.8]])
STD, SHARES = 0.2, torch.tensor([0.45, 0.30, 0.25])
points = Mixture(MODES.reshape(3, 2, 1, 1), torch.full((3,), STD), SHARES)
prior = AnalyticPrior(points, gaussian(torch.zeros(2, 1, 1), 2.0), scaled_linear())
levels = prior.schedule
conditions = prior.conditions(Prompt("three clusters"), None, SEEDS)


def query_at(progress: float = 0.0, seed: int = 0) -> Query:
    """The input of a method: the prior, its conditions, the progress of the run, and randomness."""
    return Query(prior, conditions, progress, torch.Generator().manual_seed(seed))


def all_at(t: float, count: int = SEEDS) -> Tensor:
    """The same time for every image, from the prior's table."""
    return levels.snap(torch.full((count,), t))


def ddim(x_T: Tensor, times: list[float]) -> tuple[Tensor, Tensor]:
    """Noisy images x_t and one-step denoised images D of DDIM along `times`."""
    noisy, clean = [x_T], []
    for t, s in itertools.pairwise([*times, times[-1]]):
        eps = guided_eps(prior, noisy[-1], all_at(t), conditions, 1.0)
        clean.append(levels.clean(noisy[-1], eps, all_at(t)))
        noisy.append(levels.move(noisy[-1], eps, all_at(t), all_at(s)))
    return torch.stack(noisy[:-1]), torch.stack(clean)


starts = noise.asset_noise(query_at(), torch.zeros(SEEDS, 2, 1, 1))
times = [1 - step / 100 for step in range(100)]
noisy, clean = ddim(starts, times)
drawn = clean[-1]


def mode(x: Tensor) -> Tensor:
    """The nearest cluster."""
    return torch.cdist(x.flatten(1), MODES).argmin(1)


def agreement(x: Tensor) -> float:
    """The share of seeds in the cluster that DDIM takes their noise to."""
    return float((mode(x) == mode(drawn)).double().mean())


def flat(x: Tensor) -> Tensor:
    """Points [... B 2] of images [... B 2 1 1]."""
    return x.flatten(-3)


# %%
SIDE = torch.linspace(-2.6, 2.6, 160)
plane = torch.stack(torch.meshgrid(SIDE, SIDE.flip(0), indexing="xy"), -1).reshape(-1, 2)
density = (SHARES * (-(torch.cdist(plane, MODES) ** 2) / (2 * STD**2)).exp()).sum(1)


def map_of(title: str) -> Panel:
    """A panel of the plane, the clusters in gray."""
    return Panel(title, (-2.6, 2.6), (-2.6, 2.6)).shade((density / density.max()).sqrt().reshape(160, 160))


def paths(panel: Panel, along: Tensor, count: int = 24) -> Panel:
    """The first `count` trajectories of [steps B 2 1 1], in the color of the cluster that DDIM takes each noise to."""
    for row in range(count):
        panel.path(flat(along)[:, row], COLORS[int(mode(drawn)[row])], 1.2)
    return panel


write(
    FOLDER / "1_ddim.png",
    [
        paths(map_of("noisy images x_t of DDIM"), noisy).axes([], []),
        paths(map_of("denoised images D of the same runs"), clean).axes([], []),
        map_of("200 samples").dots(flat(drawn)).axes([], []),
    ],
)
numbers["shares of DDIM"] = (torch.bincount(mode(drawn), minlength=3) / SEEDS).tolist()

# %% [markdown]
# `1_ddim.png`. Left: starting from all over the plane, the noisy images move into the clusters. Middle: the one-step
# denoised image `D = x_t / alpha - sbar eps`, the result if DDIM stopped at this step. For every seed it starts near
# the mean of all data and moves to a cluster: *an image that evolves from a blur to a sample*. Right: the samples, with
# the right share in each cluster.

# %% [markdown]
# ## 2. SDS
#
# Score Distillation Sampling (Poole et al. 2023) optimizes an image x with the gradient
#
#     grad = w(t) [eps(x_t, t) - eps],   x_t = alpha x + sigma eps,   eps ~ N(0, I) sampled anew at every step.
#
# How noisy is this gradient? For a single Gaussian cluster N(mu, s^2) the prediction is sbar (x_t / alpha - mu) / (s^2
# + sbar^2). Substitute x_t and take mean and standard deviation over eps:
#
#     E[grad] = w sbar (x - mu) / (s^2 + sbar^2)      a pull towards the cluster,
#     Std[grad] = w s^2 / (s^2 + sbar^2)              for each element, whatever x is.
#
# With w = sbar, x <- x - grad is x <- D, and the standard deviation is that of the denoised image.

# %%
DRAWS = 20_000
middle = torch.zeros(DRAWS, 2, 1, 1)  # where an image is before anything is decided
moments = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98]
sbar = torch.cat([levels.sbar(all_at(t, 1), middle).flatten() for t in moments])


def gradients(asked: AnalyticPrior, t: float) -> Tensor:
    """SDS at time t, w = sbar, once for each of DRAWS noises: [DRAWS 2]."""
    query = Query(asked, asked.conditions(Prompt(""), None, DRAWS), 0.0, torch.Generator().manual_seed(0))
    return DRAWS * SDS(scale=1.0, t_min=t, t_max=t, weight="sbar")(query, middle).grad.flatten(1)


cluster = AnalyticPrior(gaussian(MODES[0].reshape(2, 1, 1), STD), prior.null, levels)
of_one = torch.stack([gradients(cluster, t) for t in moments])
of_three = torch.stack([gradients(prior, t) for t in moments])
pull = (sbar**2 / (STD**2 + sbar**2))[:, None] * -MODES[0]
spread = sbar * STD**2 / (STD**2 + sbar**2)
deviations = (of_one.mean(1) - pull).abs() / (spread[:, None] / DRAWS**0.5)
numbers["mean of SDS, largest error in standard errors"] = float(deviations.max())
numbers["standard deviation of SDS, largest relative error"] = float((of_one.std(1) / spread[:, None] - 1).abs().max())
numbers["standard deviation of SDS, three clusters over one, largest"] = float((of_three.std(1).mean(1) / spread).max())

# %%
TIMES_AXIS, DECADES = [(0.0, "t = 0"), (0.5, "0.5"), (1.0, "1")], [(-2.0, "0.01"), (-1.0, "0.1"), (0.0, "1")]


def logarithmic(over: list[float], values: Tensor) -> Tensor:
    """Points of a curve on a logarithmic axis."""
    return torch.stack([torch.tensor(over), values.log10()], 1)


write(
    FOLDER / "2_noise_of_sds.png",
    [
        Panel("standard deviation of SDS, w = sbar", (0, 1), (-2.8, 0.5))
        .axes(TIMES_AXIS, DECADES)
        .path(logarithmic(moments, spread), COLORS[0], 1.5)
        .dots(logarithmic(moments, of_one.std(1).mean(1)), COLORS[0], 3)
        .path(logarithmic(moments, of_three.std(1).mean(1)), COLORS[1], 1.5)
        .dots(logarithmic(moments, of_three.std(1).mean(1)), COLORS[1], 3)
        .legend([("three clusters", COLORS[1]), ("one cluster", COLORS[0])])
    ],
)

# %% [markdown]
# `2_noise_of_sds.png`. Blue: one cluster. The dots are measured; the line is the formula, which has its maximum s / 2
# at sbar = s. Orange: the three clusters, seen from a point between them. Now the noise decides which cluster the prior
# sees in x_t. The standard deviation is near 1, up to 39 times that of one cluster, while the clusters are 3 apart. To
# dominate this noise, SDS is used with a guidance scale of 100. But nothing requires fresh noise: the variance is the
# price of *forgetting* eps.

# %% [markdown]
# ## 3. DDIM is SDS that remembers its noise
#
# Write one DDIM step t -> s in terms of the denoised images (Lukoianov et al. 2024, eq. 6):
#
#     D_s = D_t - sbar_s [eps_s(x_s) - eps_t],   x_s = alpha D_t + sigma eps_t.
#
# This *is* SDS with w = sbar, with one difference: the noise in x_s is not fresh, but the prediction of the last step.
# So we use the update of SDS, x <- x - grad, at DDIM's times, and vary only the noise: fresh, fixed, or the last
# prediction ("cached").


# %%
def descend(source: NoiseRule) -> Tensor:
    """x <- x - grad along DDIM's times from x = D(x_T): every image on the way."""
    query, x = query_at(), clean[0]
    along = [x]
    for t in times[1:]:
        method = Distillation(timesteps.annealed(t, t), source, guided(1.0), injected_noise, weights.sbar)
        x = x - SEEDS * method(query, x).grad
        along.append(x)
    return torch.stack(along)


cached = torch.stack(list(cached_noise_sdi(query_at(), starts, scale=1.0, times=times[1:])))
ways = {"fresh": descend(noise.fresh), "fixed": descend(noise.fixed), "cached": cached}
write(
    FOLDER / "3_which_noise.png",
    [paths(map_of(f"SDS's update, {name} noise"), along, 8).axes([], []) for name, along in ways.items()],
)
numbers["cached SDI minus DDIM, largest"] = float((ways["cached"] - clean).abs().max())
numbers["same cluster as DDIM, by noise"] = [
    float((mode(way[-1]) == mode(drawn)).double().mean()) for way in ways.values()
]

# %% [markdown]
# `3_which_noise.png`. Colors show to which cluster DDIM takes a seed. With fresh noise the image jumps from cluster to
# cluster until one holds it, independently of its color. Fixed noise leads to the right cluster on straighter paths.
# With cached noise the path equals that of `1_ddim.png`, to the last digit (the largest difference is about 1e-14).

# %% [markdown]
# ## 4. SDI: infer the noise
#
# In 3D, the last prediction cannot be cached: every view is a different image, and a step on one view changes all of
# them. Only x itself is known. If x came from a DDIM run, its noise would be a solution of (eq. 8)
#
#     kappa = eps(alpha x + sigma kappa, t).
#
# Score Distillation via Inversion approximates kappa by the noise that DDIM reaches when it runs backwards, from x up
# to t. The residual R(t), the mean square of sbar (kappa - eps), is zero for a solution. It equals |x - D|^2, the
# difference between x and its own denoised image. We run SDS and SDI as in 3D, with Adam and decreasing t, from one
# point.


# %%
def distill(method: MethodConfig, updates: int = 300, rate: float = 0.03) -> tuple[Tensor, list[float]]:
    """x after every update of Adam on all seeds, from x = 0; and R at each of them."""
    x = torch.zeros(SEEDS, 2, 1, 1, requires_grad=True)
    adam, along, residuals = torch.optim.Adam([x], rate, (0.9, 0.99)), [], []
    built = method.prepare(prior, 0)
    start = getattr(built, "start", None)
    query = replace(query_at(), state=start() if start else None)
    for update in range(updates):
        answer = built(replace(query, progress=update / updates), x.detach())
        x.grad = answer.grad
        residuals.append(float((x.detach() - answer.probe["x0"]).square().mean()))
        adam.step()
        along.append(x.detach().clone())
    return torch.stack(along), residuals


RUNS = {
    "SDS": SDI(scale=1.0, noise_source="random"),
    "SDI, inversion at 1": SDI(scale=1.0, inversion_scale=1.0, entropy=0.0),
    "SDI": SDI(scale=1.0, inversion_scale=-1.0, entropy=0.0),
}
runs = {name: distill(method) for name, method in RUNS.items()}
panel = Panel("residual R during the run", (0, 300), (-8.3, 2.3))
panel.axes([(0, "update 0"), (300, "300")], [(power, f"1e{power}") for power in (-8, -6, -4, -2, 0)])
for color, (_, residuals) in zip(COLORS, runs.values(), strict=False):
    panel.path(logarithmic(list(range(300)), torch.tensor(residuals).clamp(min=1e-8)), color, 1.5)
write(
    FOLDER / "4_inferred_noise.png",
    [
        panel.legend(zip(RUNS, COLORS, strict=False)),
        *(paths(map_of(name), along, 8).axes([], []) for name, (along, _) in runs.items()),
    ],
    columns=4,
)


def off(x: Tensor) -> float:
    """Median distance to the nearest cluster's center."""
    return float(torch.cdist(x.flatten(1), MODES).min(1).values.median())


numbers["distance to a center: SDS, SDI at inversion 1, SDI, DDIM"] = [
    *(off(along[-1]) for along, _ in runs.values()),
    off(drawn),
]
numbers["R late in the run: SDS, SDI"] = [sum(runs[name][1][-100:]) / 100 for name in ("SDS", "SDI")]

# %% [markdown]
# `4_inferred_noise.png`. With SDS, image and prediction never agree: R grows to the size of the distances between the
# clusters, and the image stays between them, which is the blur of SDS. With SDI they agree to 1e-5, and the image moves
# straight to the center of a cluster: it is sharp. The orange run inverts with the guidance scale of the denoising
# step, 1. Then the noise explains *any* image, including one between the clusters, which stays there until t is too
# small to move it. With scale -1 the noise explains only what the text asks for. The paper, too, finds in 3D that equal
# scales (7.5 and 7.5) are the worst choice, and -7.5 with 7.5 the best.
#
# But all seeds of SDI ended in one cluster: they began at the same x, and SDI depends on nothing else.

# %% [markdown]
# ## 5. DSD: the noise of the asset's own ODE
#
# Diverse Score Distillation (Xu et al. 2024) gives each asset its own noise eps*, from which DDIM defines a trajectory.
# From this trajectory it takes the noise prediction e_r at the time r, one step above t; x itself may be anywhere:
#
#     grad = w [eps(alpha x + sigma e_r, t) - eps(alpha_r x + sigma_r e_r, r)].
#
# If x is the trajectory's own D_r, the second term is e_r, and this is the DDIM step of section 3. So with as many
# updates as DDIM has steps, gradient descent from D(eps*) is DDIM itself ("DSD*"), and with more updates it stays
# close.

# %%
TOP = 0.999  # of Stable Diffusion's table
_, steps = ddim(starts, [TOP * (1 - step / 10) for step in range(11)])
near = {updates: list(dsd_2d(query_at(), starts, scale=1.0, steps=updates)) for updates in (10, 300)}
star = torch.stack(near[10])
numbers["DSD* minus DDIM, largest over all iterates"] = float((star - steps[1:]).abs().max())
numbers["300 updates of DSD, median distance to DDIM"] = float(
    (near[300][-1] - steps[-1]).flatten(1).norm(dim=1).median()
)
write(
    FOLDER / "5_dsd.png",
    [
        paths(map_of("D of DDIM in ten steps"), steps, 12).axes([], []),
        paths(map_of("ten updates of DSD"), torch.cat([steps[:1], star]), 12).axes([], []),
        paths(map_of("300 updates of DSD"), torch.stack(near[300]), 12).axes([], []),
    ],
)

# %% [markdown]
# `5_dsd.png`. Left and middle are equal, to 1e-12. The paths on the right are close to them, and the median seed ends
# within 0.1, half of a cluster's standard deviation, of its own sample.

# %% [markdown]
# ## 6. Side by side
#
# Each method as a 3D run would use it, 200 seeds, all from the same x = 0.

# %%
METHODS = {
    "SDS": SDS(scale=1.0),
    "SDS, scale 101": SDS(),
    "SDI": RUNS["SDI"],
    "SDI, fixed noise": SDI(scale=1.0, noise_source="fixed"),
    "DSD": DSD(scale=1.0, ode_scale=1.0),
}
ends = {"DDIM": drawn} | {name: distill(method)[0][-1] for name, method in METHODS.items()}
panels = []
for name, x in ends.items():
    panels.append(map_of(name))
    for which in range(3):
        panels[-1].dots(flat(x)[mode(drawn) == which], COLORS[which])
    numbers[f"{name}: shares of the clusters"] = (torch.bincount(mode(x), minlength=3) / SEEDS).tolist()
    numbers[f"{name}: distance to a center"] = off(x)
    numbers[f"{name}: same cluster as DDIM"] = agreement(x)
write(FOLDER / "6_side_by_side.png", [panel.axes([], []) for panel in panels])

# %% [markdown]
# `6_side_by_side.png`. The color of a dot shows to which cluster DDIM takes its noise. SDS stays between the clusters.
# At scale 101 it leaves, but only for the largest cluster and its neighbor: the third is never found, and the colors
# mean nothing. SDI is sharp, and all seeds give the same result. If each seed has its own noise, it goes where DDIM
# would take it (in 94 % of cases or more), so all clusters are found with the right shares. DSD ends one standard
# deviation beyond the centers, because its t ends at 0.32. In the plane, fixed noise does as well as the ODE's noise;
# the two differ if there are many views, whose trajectories differ.

# %%
FOLDER.joinpath("numbers.json").write_text(json.dumps(numbers, indent=2) + "\n")
for name, value in numbers.items():
    print(f"{name}: " + ", ".join(f"{each:.3g}" for each in (value if isinstance(value, list) else [value])))
