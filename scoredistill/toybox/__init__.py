"""Toybox: a procedural dataset of captioned toys, the language of their captions, and their renderer."""

from scoredistill.toybox.captions import COLORS, KINDS, Description
from scoredistill.toybox.dataset import Views, load, make
from scoredistill.toybox.kinds import build
from scoredistill.toybox.render import BACKGROUND, render
from scoredistill.toybox.toy import Part, Toy

__all__ = [
    "BACKGROUND",
    "COLORS",
    "KINDS",
    "Description",
    "Part",
    "Toy",
    "Views",
    "build",
    "load",
    "make",
    "render",
]
