"""The numbers of the papers in the terms of a prior.

Published models and toybox-sd are on Stable Diffusion's schedule, so that guidance and times hold as they stand. The
pixel priors have a cosine schedule, and 7.5 over-saturates them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.method import MethodConfig, carried_time
from scoredistill.methods.sdi import SDI
from scoredistill.recipes.preset import toybox_image

PAPER_SCALE = 7.5
PIXEL_SCALE = 2.5  # which gives as good samples on Toybox's pixels


@dataclass(frozen=True)
class Terms:
    """How guidance and times of the papers apply: `published` is that of the prior's needs."""

    published: bool

    @property
    def scale(self) -> float:
        """The guidance scale of the papers' samples, 7.5 there."""
        return PAPER_SCALE if self.published else PIXEL_SCALE

    @property
    def window(self) -> dict[str, Any]:
        """The official 2D notebook's times: an image is sharp only if t falls almost to 0."""
        return {"t_min": self.time(0.02), "t_max": self.time(0.98)}

    @property
    def remarks(self) -> str:
        """What a page says of guidance and times."""
        if self.published:
            return "Guidance and times are the paper's."
        return (
            f"The paper's guidance scale of ±{PAPER_SCALE} is ±{PIXEL_SCALE} here: on this small prior, 7.5 "
            "over-saturates. Diffusion times are those with the noise levels of the paper's times in Stable Diffusion."
        )

    def here(self, scale: float) -> float:
        """A guidance scale of the paper; 0 and 1, which leave guidance out, stay themselves."""
        return scale if scale in (0.0, 1.0) else scale * self.scale / PAPER_SCALE

    def time(self, t: float) -> float:
        """The time at which images are as noisy as Stable Diffusion's at the paper's t."""
        return t if self.published else carried_time(t)

    def sdi(self, **settings: Any) -> SDI:
        """SDI in 2D: the times of the official notebook, all else as in 3D, but for `settings`."""
        own: dict[str, Any] = {"scale": self.scale, "inversion_scale": -self.scale}
        own |= {} if self.published else {"inversion_start": SDI.TOYBOX["inversion_start"]}
        return SDI(**{**own, **self.window, **settings})

    def tuned(self, name: str, **settings: Any) -> MethodConfig:
        """A method with its settings for flat images, tuned or official, but for the `settings` given."""
        kind = METHODS[name]
        return replace(kind.official() if self.published else kind.toybox(flat=True), **settings)

    def image(self, name: str) -> dict[str, Any]:
        """The settings of the flat images that go with `tuned`."""
        return {} if self.published else toybox_image(METHODS[name])
