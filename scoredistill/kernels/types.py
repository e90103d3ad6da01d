"""Data types and constants that the references in `kernels/` and their fast twins in `kernels/warp/` share.

N points or Gaussians   R rays   M samples of all rays   B views   I pairs of a cell (or tile) and a Gaussian in it
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

FEATURES = 2
"""Features per hash-grid entry: two, as in the paper, so that torch moves an entry as one complex number."""

MAX_INPUTS, MAX_OUTPUTS = 64, 4
"""Largest input and output width of the fast perceptron."""
HIDDEN_STEP = 4
"""Hidden units that the fast perceptron computes at a time: their number is a multiple of it."""

CELLS = 32
"""Cells along a side of the grid into which the Gaussians of a `Mixture` are sorted."""
REACH = 3.0
"""Cut-off radius of a Gaussian in standard deviations; there it has a ninetieth of its value at the center."""
MIXTURE_CHANNELS = 4
"""Values per Gaussian of a `Mixture`."""

LATTICE_CHANNELS = 8
"""Values at a point of a `Lattice`: a density, a color and a normal times the density, and one to fill a register."""

NEAR = 0.2
"""Smallest depth of a mean, in world units (Kerbl et al. 2023): nearer Gaussians would cover the image."""
LOW_PASS = 0.3
"""Added to both variances, in pixels^2 (Kerbl et al. 2023), so that no footprint falls between pixels."""
MARGIN = 1.3
"""The linearized projection is clamped at this multiple of the view's half-width (Kerbl et al. 2023)."""

SPLAT_CHANNELS = 8
"""Features per rasterized Gaussian: a color, a normal, a distance and its square."""
MIN_ALPHA = 1 / 255
"""A Gaussian is skipped in pixels where its opacity is lower, a step of 8-bit color (Kerbl et al. 2023)."""
MAX_ALPHA = 0.99
"""Largest opacity of one Gaussian in a pixel: the transmittance behind it stays positive (Kerbl et al. 2023)."""
MIN_TRANSMITTANCE = 1e-4
"""A pixel is finished when its transmittance falls below (Kerbl et al. 2023)."""


@dataclass(frozen=True)
class GridLayout:
    """Resolutions N_l = floor(N_min b^l) (Mueller et al. 2022, eq. 2 and 3) and the number of entries of each level."""

    levels: int = 6
    coarsest: int = 12  # cells along a side of level 0
    finest: int = 96  # cells along a side of the last level
    table: int = 2**16  # largest number of entries of a level, a power of two; levels that fit are stored densely

    def __post_init__(self) -> None:
        if self.levels < 1 or self.table < 1 or self.table & (self.table - 1):
            raise ValueError(f"a hash grid needs levels >= 1 and a power of two as table size, got {self}")
        if not 1 <= self.coarsest <= self.finest:
            raise ValueError(f"a hash grid needs 1 <= coarsest <= finest, got {self.coarsest} and {self.finest}")

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Cells along a side of each level."""
        growth = (self.finest / self.coarsest) ** (1 / max(self.levels - 1, 1))
        return tuple(int(self.coarsest * growth**level + 1e-6) for level in range(self.levels))

    @cached_property
    def sizes(self) -> list[int]:
        """Table entries of each level."""
        return [min((resolution + 1) ** 3, self.table) for resolution in self.resolutions]

    @property
    def width(self) -> int:
        """Features of an encoded point."""
        return FEATURES * self.levels


@dataclass(frozen=True)
class Samples:
    """Samples along rays, packed ray after ray, front to back: interval [z - dz/2, z + dz/2] of ray number `ray`."""

    ray: Int[Tensor, "M"]
    z: Float[Tensor, "M"]
    dz: Float[Tensor, "M"]

    def __len__(self) -> int:
        return len(self.ray)

    def __getitem__(self, index: Int[Tensor, "S"]) -> Samples:
        return Samples(*(values.index_select(0, index) for values in (self.ray, self.z, self.dz)))

    def points(self, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"]) -> Float[Tensor, "M 3"]:
        """Midpoints of the intervals, in world coordinates."""
        return origins.index_select(0, self.ray) + self.z[:, None] * directions.index_select(0, self.ray)

    def starts(self, rays: int) -> Int[Tensor, "R"]:
        """Index of each ray's first sample; for a ray without samples, that of the next ray."""
        counts = torch.bincount(self.ray, minlength=rays)
        return counts.cumsum(0) - counts


@dataclass(frozen=True)
class Mixture:
    """N Gaussians, sorted into the cells of a grid over the cube [-bounds, bounds]^3."""

    means: Float[Tensor, "N 3"]
    whiten: Float[Tensor, "N 3 3"]  # to units of standard deviations along the Gaussian's own axes
    values: Float[Tensor, "N 4"]
    near: Int[Tensor, "I"]  # Gaussians, cell after cell
    start: Int[Tensor, "S"]  # S = CELLS^3 + 1: first pair of each cell, and the number of pairs
    bounds: float


@dataclass(frozen=True)
class Lattice:
    """Values at X x Y x Z points, at least two along each axis, from the corner `low` on; outside there is nothing."""

    values: Float[Tensor, "X Y Z 8"]  # see LATTICE_CHANNELS
    low: Float[Tensor, "3"]
    cell: float  # distance between neighbors

    @property
    def high(self) -> Float[Tensor, "3"]:
        """The corner opposite to `low`."""
        return self.low + self.cell * (self.low.new_tensor(self.values.shape[:3]) - 1)


@dataclass(frozen=True)
class Footprints:
    """Gaussians projected to the image plane; those with depth <= NEAR are not drawn."""

    mean: Float[Tensor, "B N 2"]  # pixels
    conic: Float[Tensor, "B N 3"]  # a, b, c of the inverse covariance [[a, b], [b, c]]
    depth: Float[Tensor, "B N"]  # of the mean, along the optical axis


@dataclass(frozen=True)
class Tiles:
    """The Gaussians that touch each tile of `size` x `size` pixels, nearest first."""

    splat: Int[Tensor, "I"]  # row of [B N], tile after tile
    start: Int[Tensor, "S"]  # S = tiles of all views + 1: first pair of each tile, and the number of pairs
    size: int
    down: int  # tiles in a column of a view
    across: int  # tiles in a row of a view
