"""Where the surface of a volume is: the density threshold that agrees best with what a render of it shows.

R samples a side   P rays   K candidates   `cell` the distance between samples
density per unit length; optical depth = integral of density; opacity = 1 - exp(-optical depth)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

HALF = math.log(2)  # the optical depth that stops half of the light
CANDIDATES = 64  # thresholds tried; over four decades, neighbors differ by a sixth
FAR = 4.0  # cells: a surface that is further from where it is seen is no more wrong than this
DEPTH = 0.02  # what a surface `FAR` out of place costs, where a wrong outline costs 1: measured, see `render_threshold`


def render_threshold(grid: Float[Tensor, "R R R"], cell: float) -> float:
    """The threshold L whose surface {density = L} looks most like the volume, on rays parallel to the axes.

    A ray meets the surface if the density reaches L anywhere on it: a mesh is a picture of the largest density,
    the volume one of opacity. Chosen is the candidate with the least mean over the rays of

        (hit - opacity)^2 + DEPTH min(|z_hit - z_half| / FAR, 1)

    where z_half is the depth at which half of the light is stopped, and the second term counts on rays that both
    meet. The outline decides: a pixel of the object where the background should be is far more wrong than
    the right color a cell too near. Frontal rays alone would put the surface too deep, and shrink a soft
    object by a pixel or two all round (3 to 9 dB). DEPTH is the value with the best pictures over eleven
    fields; a third or three times of it costs a quarter of a dB.

    Candidates lie between ln 2 / side, the least density that can make a ray half opaque, and the largest.
    ValueError if no ray becomes half opaque.
    """
    profiles = _profiles(grid)
    steps = 0.5 * cell * (profiles[:, 1:] + profiles[:, :-1])
    optical = torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(1)], 1)
    peak, deepest = float(grid.max()), float(optical.max())
    if deepest < HALF:
        raise ValueError(
            "cannot make a mesh: the volume is empty, no ray through it becomes half opaque (largest density "
            f"{peak:.3g}, largest opacity {-math.expm1(-deepest):.2g}); train longer, raise the initial "
            "density or lower the sparsity weight"
        )
    candidates = torch.from_numpy(np.geomspace(HALF / (cell * (len(grid) - 1)), peak, CANDIDATES, endpoint=False))
    rising, levels = profiles.cummax(1).values, candidates.to(grid)
    hit = rising[:, -1:] >= levels  # [P K]
    outline = (hit.float() + torch.expm1(-optical[:, -1:])).square().mean(0)
    away = _reach(rising, levels) - _reach(optical, levels.new_tensor([HALF]))
    depth = (away.abs() / FAR).clamp(max=1).where(hit & (optical[:, -1:] >= HALF), 0.0).mean(0)
    return float(candidates[int((outline + DEPTH * depth).argmin())])


def _profiles(grid: Float[Tensor, "R R R"]) -> Float[Tensor, "P R"]:
    """Densities along rays parallel to the axes, both ways; every second ray of each side is enough."""
    sides = [grid.movedim(axis, 2)[::2, ::2].flatten(0, 1) for axis in range(3)]
    return torch.cat([*sides, *(side.flip(1) for side in sides)])


def _reach(rising: Float[Tensor, "P R"], levels: Float[Tensor, "K"]) -> Float[Tensor, "P K"]:
    """Samples along each ray until values that never fall reach each level, linear between; the last for never."""
    index = torch.searchsorted(rising, levels.expand(len(rising), -1).contiguous())
    index = index.clamp(1, rising.shape[1] - 1)
    after, before = rising.gather(1, index), rising.gather(1, index - 1)
    return index - ((after - levels) / (after - before).clamp(min=1e-12)).clamp(0, 1)
