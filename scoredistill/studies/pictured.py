"""Studies that start from pictures: one of a true toy for each caption, and how near a result comes to that very toy.

V views   H W pixels
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import FOV_DEG, ORBIT_RADIUS, Cameras, orbit
from scoredistill.evaluate.geometry import likeness, true_shape
from scoredistill.evaluate.report import expected
from scoredistill.export.images import write_png
from scoredistill.recipes.recipe import Recipe
from scoredistill.studies.finished import Finished, metrics_of
from scoredistill.studies.scene_study import Settings
from scoredistill.toybox import BACKGROUND, Description, Toy, build, render

PICTURES = "pictures"  # of the folder of a study
SEED = 60_000  # of the toys, apart from every data set
AZIMUTH_DEG, ELEVATION_DEG = 25.0, 15.0  # of the pictures: from before, a little aside
UNSEEN_DEG = (90.0, 135.0, 180.0, 225.0, 270.0)  # round from the picture: the side that it does not show
RADIUS, SIZE, JUDGED_SIZE = fmean(ORBIT_RADIUS), 256, 64
TAKEN_FROM = {"prompt.picture.azimuth_deg": [AZIMUTH_DEG], "prompt.picture.elevation_deg": [ELEVATION_DEG]}


def pictured(caption: str) -> Toy:
    """The toy in the picture of a caption."""
    return build(Description(*expected(caption)), np.random.default_rng(SEED))


def pictures(captions: Sequence[str], folder: Path) -> Settings:
    """Write a picture for each caption, cut out of its background, and name them and their camera.

    The caption is the name of the file, which makes it the prompt.
    """
    place = folder / PICTURES
    place.mkdir(parents=True, exist_ok=True)
    files = [place / f"{caption}.png" for caption in captions]
    for caption, file in zip(captions, files, strict=True):
        if not file.exists():
            frame = render(pictured(caption), cameras((0.0,), RADIUS, FOV_DEG, SIZE), torch.zeros(3))
            straight = frame.rgb[0] / frame.opacity[0].clamp(min=1e-3)
            write_png(torch.cat([straight, frame.opacity[0]]).clamp(0, 1), file)
    return {"picture": [str(file) for file in files], **TAKEN_FROM}


def cameras(turns_deg: Sequence[float], radius: float, fov_deg: float, size: int) -> Cameras:
    """Cameras turned round from that of the picture."""
    azimuth, one = (torch.tensor(turns_deg) + AZIMUTH_DEG).deg2rad(), torch.ones(len(turns_deg))
    return orbit(azimuth, math.radians(ELEVATION_DEG) * one, radius * one, math.radians(fov_deg) * one, size)


def as_placed(caption: str, recipe: Recipe) -> Toy:
    """The toy at the size that it has for a run, which takes the picture as one of its own middle camera."""
    radius, fov_deg = recipe.views.middle()
    seen, taken = (r * math.tan(math.radians(fov) / 2) for r, fov in ((radius, fov_deg), (RADIUS, FOV_DEG)))
    return pictured(caption).moved(seen / taken, np.zeros(3))


def against_the_pictured(run: Finished) -> dict[str, float]:
    """How near a result is to the very toy of its picture; nothing where the prior frames pictures anew.

    true_chamfer, true_normals, true_overlap, true_volume: of its shape. picture_psnr: of the view that the picture
    shows. behind_likeness, behind_psnr: of the views that it does not show, the cosine of the judge's features and
    the signal-to-noise ratio.
    """
    if not run.family:
        return {}
    toy = as_placed(run.recipe.prompt.text, run.recipe)
    radius, fov_deg = run.recipe.views.middle()
    views = cameras((0.0, *UNSEEN_DEG), radius, fov_deg, JUDGED_SIZE)
    background = torch.tensor(BACKGROUND)
    device = run.recipe.prior.device
    rgb = run.scene.render(views.to(device), background.to(device)).rgb.cpu().nan_to_num(0, 0, 0).clamp(0, 1)
    true = render(toy, views, background).rgb.clamp(0, 1)
    alike = (run.judge.image_features(rgb[1:]) * run.judge.image_features(true[1:])).sum(1)
    return metrics_of(likeness(run.shape, true_shape(toy)), "true_") | {
        "picture_psnr": psnr(rgb[:1], true[:1]),
        "behind_psnr": psnr(rgb[1:], true[1:]),
        "behind_likeness": float(alike.mean()),
    }


def psnr(rgb: Float[Tensor, "V 3 H W"], true: Float[Tensor, "V 3 H W"]) -> float:
    """10 log10 (1 / mean (rgb - true)^2), decibels."""
    return -10 * math.log10(max(float((rgb - true).double().square().mean()), 1e-10))
