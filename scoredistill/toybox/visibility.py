"""Which parts of a face a picture of a toy shows: by the pixels that change if the part is left out of the render.

B views   P parts
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scoredistill.camera import Cameras
from scoredistill.toybox.render import BACKGROUND, render_without
from scoredistill.toybox.toy import Part, Toy

PARTS = ("left eye", "right eye", "nose", "hat", "buttons")
"""The toy's own left; a beak counts as a nose."""

EYES = ("bear", "cat", "duck", "fish", "penguin", "rabbit", "robot", "snowman", "turtle")
"""The kinds with eyes."""

FACES = tuple(kind for kind in EYES if kind not in ("fish", "turtle"))
"""The seven whose eyes look to the front; those of fish and turtle are on the sides of the head."""

CONTRAST = 0.15  # of a channel: a pixel changes if one channel does by more
PIXELS = 3  # fewer changed pixels of a 64 x 64 picture are no part that one sees


def pictures(toy: Toy, cameras: Cameras) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B P 3 H W"]]:
    """Renders of the toy, and of the toy without each of `PARTS`; where it has no such part, both are equal."""
    toy = Toy(tuple(piece for part in toy.parts for piece in _halves(part)))
    hidden = [[index for index, part in enumerate(toy.parts) if part.name == name] for name in PARTS]
    frames = render_without(toy, cameras, torch.tensor(BACKGROUND), [(), *hidden])
    whole, *without = (frame.rgb.clamp(0, 1) for frame in frames)
    return whole, torch.stack(without, 1)


def changed(whole: Float[Tensor, "B 3 H W"], without: Float[Tensor, "B P 3 H W"]) -> Float[Tensor, "B P"]:
    """The number of pixels that change without each part."""
    return ((whole[:, None] - without).abs().amax(2) > CONTRAST).float().sum((2, 3))


def visible(whole: Float[Tensor, "B 3 H W"], without: Float[Tensor, "B P 3 H W"]) -> Bool[Tensor, "B P"]:
    """Whether each part is seen: in pictures of 64 x 64 pixels, PIXELS of them change without it."""
    return changed(whole, without) >= PIXELS


def _halves(part: Part) -> tuple[Part, ...]:
    """A pair of eyes as a left and a right one, divided at its plane of symmetry; other parts as they are."""
    if part.name == "beak":
        return (replace(part, name="nose"),)
    if part.name != "eyes":
        return (part,)
    middle = float(part.ball[0][0])
    side = part.shape.turned("z", 90)
    halves = {"left eye": side.above(middle), "right eye": side.below(middle)}
    return tuple(replace(part, name=name, shape=half.turned("z", -90)) for name, half in halves.items())
