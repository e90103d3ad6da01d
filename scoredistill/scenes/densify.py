"""Adaptive density of splats: clone, split, prune, reset, with the optimizer's state (Kerbl et al. 2023, section 5.2).

N splats before, M after   a row: one splat's entries in each parameter and in the optimizer's moments
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scoredistill.kernels.project import rotation_matrices

SHRINK = 1.6
"""What the standard deviations of a split splat are divided by (Kerbl et al. 2023)."""


@dataclass(frozen=True)
class DensifySettings:
    """When splats multiply and vanish; the defaults are Kerbl et al.'s, for a scene of extent 1.

    Differs from their code: no limit to the width on the screen, which it sets to zero before it reads it.
    """

    begin: int = 500  # first and last step of densification
    until: int = 15_000
    every: int = 100  # steps between visits
    threshold: float = (
        2e-4  # mean length of the gradient by the place on the screen (half its sides) that asks for more
    )
    share: float = 1.0  # of the splats, at most, that multiply at a visit: those with the largest gradients
    most: int = 1_000_000  # splats
    split_above: float = 0.01  # largest standard deviation above which a splat is split, below which it is cloned
    prune_above: float = 0.1  # and above which it vanishes, once opacities were reset
    faint: float = 0.005  # opacity below which a splat vanishes
    reset_every: int = 3000  # steps after which all opacities are lowered; 0: never
    reset_to: float = 0.01
    clones: Literal["shared", "kept"] = "kept"  # the opacity of a clone and its original: see `share_opacity`


@dataclass(frozen=True)
class Seen:
    """What was seen of each splat since the last visit."""

    pull: Float[Tensor, "N"]  # sum of the lengths of its gradient on the screen
    views: Float[Tensor, "N"]  # number of views it was in


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
    seen: Seen,
    settings: DensifySettings,
    rng: torch.Generator,
) -> None:
    """Clone the small and split the large among the splats with the largest gradients.

    A clone is a copy in the same place, which its own momentum parts from the original. A split splat gives way to
    two, drawn from it, SHRINK times smaller.
    """
    growing = _growing(seen, settings)
    large = parameters["log_stds"].exp().amax(-1) > settings.split_above
    cloned, split = ((growing & kind).nonzero()[:, 0] for kind in (~large, large))
    kept = (~(growing & large)).nonzero()[:, 0]
    source = torch.cat([kept, cloned, split, split])
    fresh = torch.arange(len(source), device=source.device) >= len(kept)
    if settings.clones == "shared":
        parameters["opacity_logits"].data[cloned] = share_opacity(parameters["opacity_logits"][cloned])
    regather(parameters, optimizer, source, fresh)
    halves = slice(len(kept) + len(cloned), None)
    stds = parameters["log_stds"].data[halves].exp()
    noise = torch.randn(stds.shape, generator=rng).to(stds)
    turn = rotation_matrices(parameters["rotations"][halves])
    parameters["means"].data[halves] += (turn @ (stds * noise)[..., None])[..., 0]
    parameters["log_stds"].data[halves] -= math.log(SHRINK)


def _growing(seen: Seen, settings: DensifySettings) -> Bool[Tensor, "N"]:
    """Splats above the threshold; of too many, those with the largest gradients."""
    pull = seen.pull / seen.views.clamp(min=1)
    room = min(int(settings.share * len(pull)), settings.most - len(pull))
    if room <= 0:
        return torch.zeros_like(pull, dtype=torch.bool)
    least = pull.topk(min(room + 1, len(pull))).values[-1] if room < len(pull) else pull.new_tensor(-1.0)
    return (pull > least) & (pull >= settings.threshold)


def share_opacity(logits: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Logits of 1 - sqrt(1 - o): two splats of that opacity stop as much light at their centre as one of opacity o.

    Rota Bulo et al. 2024, "Revising densification". With the opacity kept, as Kerbl et al. 2023 do, every clone makes
    the picture more opaque.
    """
    half = -torch.expm1(0.5 * nn.functional.logsigmoid(-logits))
    return torch.log(half / (1 - half))


@torch.no_grad()
def prune(
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    kept: Bool[Tensor, "N"],
) -> None:
    """Drop the rows that are not `kept`."""
    source = kept.nonzero()[:, 0]
    regather(parameters, optimizer, source, torch.zeros_like(source, dtype=torch.bool))


@torch.no_grad()
def reset_opacity(logits: nn.Parameter, optimizer: torch.optim.Optimizer, most: float) -> None:
    """Lower all opacities to `most` and forget their momentum: what is needed comes back, what floats does not."""
    logits.data.clamp_(max=math.log(most / (1 - most)))
    for value in optimizer.state.get(logits, {}).values():
        if value.dim():
            value.zero_()
