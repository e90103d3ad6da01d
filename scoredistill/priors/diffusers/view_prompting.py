"""View-dependent prompting: view words by thresholds, interpolated embeddings, and Perp-Neg's negative views.

azimuth    0 at the front, (-pi, pi] radians    [B]
elevation  above the horizon, radians           [B]
a          |azimuth| in degrees;  r  interpolation weight: 1 at the first of two views, 0 at the second
weights    weight of each of VIEWS              [B 4]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

ViewPrompting = Literal["words", "prefix", "interpolated", "perp-neg", "none"]
"""How cameras change the text.

words: those of the nearest view behind the text;  prefix: in front of it (SJC);  interpolated: between the embeddings
of two views (ISM);  perp-neg: also Perp-Neg;  none: not at all (MVDream, whose network has the cameras as input)
"""

VIEWS = ("front", "side", "back", "overhead")
FRONT, SIDE, BACK, OVERHEAD = range(4)
NEGATIVE = (FRONT, SIDE)
"""The negative views of Perp-Neg; the back view is never negative."""


@dataclass(frozen=True)
class ViewAngles:
    """The angles at which view words change (threestudio's defaults).

    front: |azimuth| < front_deg;  back: |azimuth| > 180 - back_deg;  otherwise side;  overhead: elevation above
    overhead_deg, at any azimuth.
    """

    front_deg: float = 45.0
    back_deg: float = 45.0
    overhead_deg: float = 60.0

    def views(self, azimuth: Float[Tensor, "B"], elevation: Float[Tensor, "B"]) -> list[str]:
        """The view of each camera, one of VIEWS."""
        weights = self.shares(azimuth, elevation)
        return [VIEWS[index] for index in weights.argmax(1).tolist()]

    def shares(self, azimuth: Float[Tensor, "B"], elevation: Float[Tensor, "B"]) -> Float[Tensor, "B 4"]:
        """Weight 1 for the view of each camera, 0 for the others."""
        a = _turned(azimuth)
        view = torch.full(a.shape, SIDE)
        view[a < self.front_deg] = FRONT
        view[a > 180 - self.back_deg] = BACK
        view[self.above(elevation)] = OVERHEAD
        return torch.nn.functional.one_hot(view, len(VIEWS)).double()

    def between(self, azimuth: Float[Tensor, "B"], elevation: Float[Tensor, "B"]) -> Float[Tensor, "B 4"]:
        """r front + (1 - r) side up to 90 degrees, r side + (1 - r) back beyond; overhead alone."""
        a = _turned(azimuth)
        weights = torch.zeros(len(a), len(VIEWS), dtype=torch.float64)
        before, r = a < 90, _share(a)
        weights[:, FRONT] = torch.where(before, r, 0.0)
        weights[:, SIDE] = torch.where(before, 1 - r, r)
        weights[:, BACK] = torch.where(before, 0.0, 1 - r)
        weights[self.above(elevation)] = torch.eye(len(VIEWS), dtype=torch.float64)[OVERHEAD]
        return weights

    def away(self, azimuth: Float[Tensor, "B"], elevation: Float[Tensor, "B"]) -> Float[Tensor, "B 2"]:
        """Perp-Neg's weights on the front and the side view, <= 0 (Armandpour et al. 2023; threestudio's values).

        f(r) = p exp(-r / 2) + c: front half: front -f1(r), side -f1(1 - r); back half: front -f3(r), side -f2(r);
        overhead: none. (p, c) of f1, f2, f3: (4, -2.426), (1, -.606), (1, .967).
        """
        a = _turned(azimuth)
        before, r = a < 90, _share(a)
        front = torch.where(before, _decay(r, 4, -2.426), _decay(r, 1, 0.967))
        side = torch.where(before, _decay(1 - r, 4, -2.426), _decay(r, 1, -0.606))
        weights = -torch.stack([front, side], 1)
        return torch.where(self.above(elevation)[:, None], torch.zeros(()).double(), weights)

    def above(self, elevation: Float[Tensor, "B"]) -> Tensor:
        """Whether the elevation of each camera is above overhead_deg."""
        return elevation.detach().cpu().double().rad2deg() > self.overhead_deg


def with_view(text: str, view: str) -> str:
    """The text followed by the words of a view, "a hamburger, front view"."""
    return f"{text}, {view} view"


def with_prefix(text: str, view: str) -> str:
    """The text behind the words of a view, "front view of a hamburger" (SJC's official code)."""
    return f"{'backside' if view == 'back' else view} view of {text}"


def without_view(text: str) -> tuple[str, str]:
    """The inverse of `with_view`: the text, and its ending with the words of a view, "" if it has none."""
    ending = next((ending for view in VIEWS if text.endswith(ending := with_view("", view))), "")
    return text.removesuffix(ending), ending


def _turned(azimuth: Tensor) -> Tensor:
    """|azimuth| in degrees, in [0, 180], on the CPU."""
    wrapped = torch.remainder(azimuth.detach().cpu().double() + math.pi, 2 * math.pi) - math.pi
    return wrapped.abs().rad2deg()


def _share(a: Tensor) -> Tensor:
    """r: from 1 at the front to 0 at the side, and again from 1 at the side to 0 at the back."""
    return torch.where(a < 90, 1 - a / 90, 2 - a / 90)


def _decay(r: Tensor, p: float, c: float) -> Tensor:
    return p * torch.exp(-0.5 * r) + c
