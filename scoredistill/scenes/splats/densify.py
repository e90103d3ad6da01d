"""Adaptive density of splats: clone, split, prune, reset, with the optimizer's state (Kerbl et al. 2023, section 5.2).

N splats before, M after   a row: one splat's entries in each parameter and in the optimizer's moments
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoredistill.kernels.project import rotation_matrices
from scoredistill.scenes.splats.config import DensifyConfig

SHRINK = 1.6
"""What the standard deviations of a split splat are divided by (Kerbl et al. 2023)."""


@dataclass(frozen=True)
class ScreenGradients:
    """Accumulated for each splat since the last densification."""

    norm: Float[Tensor, "N"]  # sum of the norms of its gradient on the screen
    views: Float[Tensor, "N"]  # number of views that it was visible in


Parameters = dict[str, nn.Parameter]
"""The splats: `means`, `log_stds`, `rotations`, `opacity_logits` and colors, by the names of the optimizer's groups."""


def regather(
    parameters: Parameters, optimizer: torch.optim.Optimizer, source: Int[Tensor, "M"], fresh: Bool[Tensor, "M"]
) -> None:
    """Make row number `source[i]` row i of every parameter; `fresh` rows begin without momentum.

    The parameters are replaced in the dictionary and in the optimizer: graphs of earlier steps may still hold the old.
    """
    for group in optimizer.param_groups:
        (old,) = group["params"]
        new = nn.Parameter(old.detach()[source])
        state = optimizer.state.pop(old, {})
        for name, value in state.items():
            if value.dim():  # a moment; the number of steps has no rows
                state[name] = value[source]
                state[name][fresh] = 0
        optimizer.state[new] = state
        group["params"] = [new]
        parameters[group["name"]] = new


@torch.no_grad()
def densify(
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    gradients: ScreenGradients,
    config: DensifyConfig,
    rng: torch.Generator,
) -> None:
    """Clone the small and split the large among the splats with the largest gradients.

    A clone is a copy in the same place, which its momentum separates from the original. A split splat is replaced by
    two, drawn from it, SHRINK times smaller.
    """
    growing = _growing(gradients, config)
    large = parameters["log_stds"].exp().amax(-1) > config.split_above
    cloned, split = ((growing & kind).nonzero()[:, 0] for kind in (~large, large))
    others = (~(growing & large)).nonzero()[:, 0]
    source = torch.cat([others, cloned, split, split])
    fresh = torch.arange(len(source), device=source.device) >= len(others)
    if config.clones == "shared":
        parameters["opacity_logits"].data[cloned] = share_opacity(parameters["opacity_logits"][cloned])
    regather(parameters, optimizer, source, fresh)
    halves = slice(len(others) + len(cloned), None)
    stds = parameters["log_stds"].data[halves].exp()
    noise = torch.randn(stds.shape, generator=rng).to(stds)
    turn = rotation_matrices(parameters["rotations"][halves])
    parameters["means"].data[halves] += (turn @ (stds * noise)[..., None])[..., 0]
    parameters["log_stds"].data[halves] -= math.log(SHRINK)


def _growing(gradients: ScreenGradients, config: DensifyConfig) -> Bool[Tensor, "N"]:
    """Splats above the threshold; of too many, those with the largest gradients."""
    norm = gradients.norm / gradients.views.clamp(min=1)
    room = min(int(config.share * len(norm)), config.most - len(norm))
    if room <= 0:
        return torch.zeros_like(norm, dtype=torch.bool)
    least = norm.topk(min(room + 1, len(norm))).values[-1] if room < len(norm) else norm.new_tensor(-1.0)
    return (norm > least) & (norm >= config.threshold)


def share_opacity(logits: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Logits of 1 - sqrt(1 - o): two splats of that opacity stop as much light at their center as one of opacity o.

    Rota Bulo et al. 2024, "Revising densification". With unchanged opacity, as in Kerbl et al. 2023, every clone makes
    the picture more opaque.
    """
    half = -torch.expm1(0.5 * nn.functional.logsigmoid(-logits))
    return torch.log(half / (1 - half))


@torch.no_grad()
def prune(
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    mask: Bool[Tensor, "N"],
) -> None:
    """Drop the rows outside `mask`."""
    source = mask.nonzero()[:, 0]
    regather(parameters, optimizer, source, torch.zeros_like(source, dtype=torch.bool))


@torch.no_grad()
def reset_opacity(logits: nn.Parameter, optimizer: torch.optim.Optimizer, most: float) -> None:
    """Lower all opacities to `most` and reset their momentum: needed splats recover, floaters do not."""
    logits.data.clamp_(max=math.log(most / (1 - most)))
    for value in optimizer.state.get(logits, {}).values():
        if value.dim():
            value.zero_()
