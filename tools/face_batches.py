"""Faces in training batches: front views of toys that have one are drawn more often, and the loss on them is weighted.

An eye has 4 to 34 of the 4,096 pixels of a picture, and 3 % of the views are front views of one such toy. What is done
about it leaves the minimizer of the loss, E[v | x_t, condition], as it is, since all of it is a function of what the
network is conditioned on, never of the picture:

- `--faces`: the additional views are drawn evenly among those of a kind whose words are "front view" (in rings: of a
  kind, with any camera that has a front view among its quarter turns), and are never drawn without their caption. So
  the distribution of pictures under a condition, and the unconditional one, stay those of the other rows.
- `--face-weight`: the pixels at which eyes, nose or beak are expected for this kind, size and view, averaged over
  proportions and over whatever the condition leaves open. A mask of the eyes of the picture itself would be a function
  of the target, whose minimizer E[w v | x_t] / E[w | x_t] draws faces too often where x_t does not decide.
- Times of these rows are uniform: a weight of t. True front views that are noised to t and denoised by the first prior
  have a face in 55 % at t = .4, where the noise still shows it, 52 % at .55, 30 % at .7, 23 % at .85 and 14 % from
  noise (84 % of the renders themselves): it fails at every noise level, a third of it below .4.
"""

from __future__ import annotations

import argparse
import math
from functools import lru_cache
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import FOV_DEG, ORBIT_RADIUS, Cameras, orbit
from scoredistill.toybox import build
from scoredistill.toybox.captions import OVERHEAD, Description
from scoredistill.toybox.dataset import ELEVATION_DEG
from scoredistill.toybox.toy import enclose
from scoredistill.toybox.visibility import FACES

FRONT = "front view"
PIECES = ("eyes", "nose", "beak")
SAMPLES = 8  # random toys of a kind, whose faces are averaged
DIRECTIONS = 9  # per angle: cameras that are averaged where the condition is only "front view"


def face_flags(parser: argparse.ArgumentParser, share: float) -> None:
    """Add `--faces` and `--face-weight`; `share` is the default of the first."""
    parser.add_argument(
        "--faces", type=float, default=share, help="share of a batch that are front views (in rings: one) of a face"
    )
    parser.add_argument("--face-weight", type=float, default=5.0, help="weight of the loss where their face is")


def face_words(flags: argparse.Namespace) -> str:
    """The flags of `face_flags`, as in the command."""
    return f" --faces {flags.faces:g} --face-weight {flags.face_weight:g}"


def shows_face(toy: Description, view: str) -> bool:
    """Whether the view of this name shows the face of a single toy."""
    return view == FRONT and toy.kind in FACES and not toy.composed


def nominal(azimuth: Float[Tensor, "B"], elevation: Float[Tensor, "B"], size: int) -> Cameras:
    """Cameras in these directions, at the mean distance of the data: neither words nor poses give the distance."""
    ones = torch.ones(len(azimuth))
    return orbit(azimuth, elevation, fmean(ORBIT_RADIUS) * ones, math.radians(FOV_DEG) * ones, size)


def expected_face(toy: Description, cameras: Cameras) -> Float[Tensor, "B H W"]:
    """For each pixel, the share of toys of this kind and size whose face has its bounding ball there."""
    origins, directions = cameras.rays()
    covered = []
    for center, radius in _balls(toy.kind, toy.size):
        offset = torch.tensor(center, dtype=torch.float32) - origins
        along = (offset * directions).sum(-1, keepdim=True) * directions
        covered.append((offset - along).norm(dim=-1) < radius)
    return torch.stack(covered).float().mean(0)


@lru_cache
def expected_front(kind: str, size: str, pixels: int) -> Float[Tensor, "H W"]:
    """`expected_face` averaged over the cameras of front views."""
    turn, height = math.pi / 4, (math.radians(ELEVATION_DEG[0]), OVERHEAD)
    azimuth, elevation = torch.meshgrid(
        torch.linspace(-turn, turn, DIRECTIONS), torch.linspace(*height, DIRECTIONS), indexing="ij"
    )
    cameras = nominal(azimuth.flatten(), elevation.flatten(), pixels)
    return expected_face(Description(kind, "red", size=size), cameras).mean(0)


@lru_cache
def _balls(kind: str, size: str) -> list[tuple[np.ndarray, float]]:
    """Bounding balls, center [3] and radius, of the faces of random toys of a kind and size."""
    rng = np.random.default_rng(0)
    balls = []
    for _ in range(SAMPLES):
        toy = build(Description(kind, "red", size=size), rng)
        balls.append(enclose([part.shape for part in toy.parts if part.name in PIECES]))
    return balls
