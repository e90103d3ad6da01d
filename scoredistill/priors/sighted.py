"""What priors share that are shown a picture: asking for it, one look at it, and poses relative to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.contracts import Photo, Prompt

Seen = TypeVar("Seen")


class Sight(Generic[Seen]):
    """What `look` makes of a prompt's photo, looked at once as long as it stays the same."""

    def __init__(self, look: Callable[[Photo], Seen]):
        self.look = look
        self.photo: Photo | None = None

    def __call__(self, prompt: Prompt) -> tuple[Photo, Seen]:
        """The photo and what was seen in it; ValueError where the prompt has none."""
        if prompt.photo is None:
            raise ValueError("this prior makes views of a picture and was given none: name one, as in --image toy.png")
        if prompt.photo is not self.photo:
            self.photo, self.seen = prompt.photo, self.look(prompt.photo)
        return prompt.photo, self.seen


def relative_pose(photo: Cameras, cameras: Cameras, *, above: bool = False) -> Float[Tensor, "B 4"]:
    """T = [theta - theta_0, sin(phi - phi_0), cos(phi - phi_0), r - r_0] (Liu et al. 2023, official code).

    From nominal orbits in radians; theta - theta_0 is the photo's elevation less the view's. `above`: the last is
    theta_0 instead, as Stable Zero123 was trained.
    """
    turned = cameras.azimuth - photo.azimuth
    last = (math.pi / 2 - photo.elevation).expand_as(turned) if above else cameras.radius - photo.radius
    return torch.stack([photo.elevation - cameras.elevation, turned.sin(), turned.cos(), last], -1)
