"""The standard looks at a finished scene: four views, the turntable, what is judged; and what DDIM draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.camera import Cameras, orbit, ring
from scoredistill.contracts import Frame, Prompt
from scoredistill.evaluate import metrics
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.report import evaluate_views
from scoredistill.methods import ddim
from scoredistill.methods.noise import gaussian
from scoredistill.parts import background, build_prior
from scoredistill.priors.toybox import SIZE
from scoredistill.run import Run, negative, preset_of
from scoredistill.scenery import Solid
from scoredistill.scenes.image import Image

ELEVATION_DEG = 15.0  # of turntables and evaluations, as in the papers
TOP_DEG = 80.0  # straight down, "up" would have no direction in the picture
JUDGED = 8  # views all round
JUDGED_SIZE = 128  # pixels: finer than the judge's 64, for sharpness
CHUNK = 4  # views rendered at once, which bounds the memory


def four_views(run: Run, scene: Solid, size: int = JUDGED_SIZE) -> Frame:
    """Front, side, back and top."""
    azimuths, elevations = [0.0, 90.0, 180.0, 0.0], [ELEVATION_DEG] * 3 + [TOP_DEG]
    return look(run, scene, azimuths, elevations, size)


@torch.no_grad()
def look(run: Run, scene: Solid, azimuths_deg: list[float], elevations_deg: list[float], size: int) -> Frame:
    """One view from each direction, from the middle distance of the run's training views."""
    azimuth, elevation = (torch.tensor(angles).deg2rad() for angles in (azimuths_deg, elevations_deg))
    radius, fov_deg = distance(run)
    constant = torch.ones(len(azimuth))
    cameras = orbit(azimuth, elevation, radius * constant, math.radians(fov_deg) * constant, size)
    return scene.render(cameras.to(run.device), background(run))


def turntable(run: Run, scene: Solid, frames: int, size: int, elevation_deg: float = ELEVATION_DEG) -> Iterator[Frame]:
    """`frames` views evenly round the scene, rendered as they are asked for."""
    cameras = all_round(run, frames, size, elevation_deg)
    for begin in range(0, frames, CHUNK):
        with torch.no_grad():
            yield scene.render(cameras[begin : begin + CHUNK], background(run))


def distance(run: Run) -> tuple[float, float]:
    """Radius and field of view (degrees) in the middle of those of the run's training views."""
    return preset_of(run).views.middle()


@torch.no_grad()
def samples(run: Run, count: int, *, scale: float, steps: int) -> Float[Tensor, "N 3 64 64"]:
    """What the run's prior itself draws for its prompt, by DDIM in `steps`; ValueError for less than one sample."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    prior = build_prior(run)
    conditions = prior.conditions(Prompt(run.prompt, negative(run)), None, count)
    like = prior.encode(torch.zeros(count, 3, SIZE, SIZE, device=run.device))
    x_T = gaussian(like, torch.Generator().manual_seed(run.seed))
    x = ddim.sample(prior, x_T, conditions, scale=scale, steps=steps)
    return prior.decode(x).float().cpu().clamp(0, 1)


@torch.no_grad()
def evaluate(run: Run, scene: Solid | Image) -> dict[str, Any]:
    """The judge's metrics of a scene, or where it has nothing to say (why: "judge") those that need none."""
    if isinstance(scene, Image):
        rgb, opacity, cameras = scene.pixels.detach().cpu(), None, None
    else:
        cameras = all_round(run, JUDGED, JUDGED_SIZE)
        frames = list(turntable(run, scene, JUDGED, JUDGED_SIZE))
        rgb, opacity = (torch.cat([getattr(frame, name) for frame in frames]).cpu() for name in ("rgb", "opacity"))
    try:
        return evaluate_views(Judge.load(), rgb, opacity, run.prompt, cameras)
    except ValueError as error:
        reason = metrics.divergence(rgb, opacity)
        sharpness = float(metrics.sharpness(rgb.nan_to_num()).mean())
        return {"sharpness": sharpness, "diverged": bool(reason), "reason": reason, "judge": str(error)}


def all_round(run: Run, count: int, size: int, elevation_deg: float = ELEVATION_DEG) -> Cameras:
    """`count` cameras evenly round the scene, in the middle distance of the run's training views."""
    radius, fov_deg = distance(run)
    return ring(count, size, elevation_deg=elevation_deg, radius=radius, fov_deg=fov_deg).to(run.device)
