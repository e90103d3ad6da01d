"""Where the surface of a volume is: the density threshold that agrees best with what a render of it shows.

R samples a side   P rays   `cell` the distance between samples
density per unit length; optical depth = integral of density; opacity = 1 - exp(-optical depth)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

HALF = math.log(2)  # the optical depth that stops half of the light
CANDIDATES = 48  # thresholds tried; over four decades, neighbors differ by a fifth
MISS = 4.0  # cells: a ray on which surface and render disagree by more counts as a miss


def render_threshold(grid: Float[Tensor, "R R R"], cell: float) -> float:
    """The threshold whose surface agrees best with what is seen of the volume.

    Seen from the six sides of its cube, a volume looks solid where half of the light is stopped: where
    the optical depth along the ray reaches ln 2. That depth, on a grid of rays, is the truth; a candidate
    threshold puts its surface where the density first reaches it. Chosen is the candidate with the least
    mean |difference| of depth, truncated at `MISS` cells, so that to miss what is seen and to show what is
    not cost the same, however large the gap. Candidates lie between ln 2 / side, the least density that can
    make a ray half opaque, and the largest density there is.

    A criterion on the histogram of densities (Otsu 1979) does not know where the dense cells are: thin fog
    that fills the cube outvotes the object, and an opaque core decides for its soft shell.

    ValueError if no ray becomes half opaque.
    """
    profiles = _profiles(grid)
    steps = 0.5 * cell * (profiles[1:] + profiles[:-1])
    optical = torch.cat([torch.zeros_like(profiles[:1]), steps.cumsum(0)])
    peak, deepest = float(grid.max()), float(optical[-1].max())
    if deepest < HALF:
        raise ValueError(
            "cannot make a mesh: the volume is empty, no ray through it becomes half opaque (largest density "
            f"{peak:.3g}, largest opacity {1 - math.exp(-deepest):.2g}); train longer, raise the initial "
            "density or lower the sparsity weight"
        )
    seen = _first_reach(optical, HALF)
    least = HALF / (cell * (len(grid) - 1))
    candidates = np.geomspace(least, peak, CANDIDATES, endpoint=False).tolist()
    misfits = [_first_reach(profiles, level).sub(seen).abs().clamp(max=MISS).mean() for level in candidates]
    return candidates[int(torch.stack(misfits).argmin())]


def _profiles(grid: Float[Tensor, "R R R"]) -> Float[Tensor, "R P"]:
    """Densities along rays parallel to the axes, both ways; every second ray of each side is enough."""
    sides = [grid.movedim(axis, 0)[:, ::2, ::2].flatten(1) for axis in range(3)]
    return torch.cat([*sides, *(side.flip(0) for side in sides)], 1)


def _first_reach(profiles: Float[Tensor, "R P"], level: float) -> Tensor:
    """[P] cells along each ray until it first reaches `level`, linear between samples; 2 R for never."""
    reached = profiles >= level
    index = reached.byte().argmax(0).clamp(min=1)
    after, before = (profiles.gather(0, i[None])[0] for i in (index, index - 1))
    depth = index - ((after - level) / (after - before).clamp(min=1e-12)).clamp(0, 1)
    return depth.where(reached.any(0), torch.full_like(depth, 2 * len(profiles)))
