"""From a resolved run to its parts: the only file that names classes.

Run without gaps --build--> Parts --optimize--> steps
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoredistill import settings
from scoredistill.camera import orbit
from scoredistill.contracts import Method, Photo, Prior, Prompt, Scene, Sighted, Step, Views
from scoredistill.methods.catalogue import METHODS
from scoredistill.optimize import optimize
from scoredistill.photo import read_photo
from scoredistill.presets.published import VIEW_WORDS
from scoredistill.priors.compiled import compile_network
from scoredistill.run import BACKGROUNDS, Run, background_name, negative, preset_of
from scoredistill.scenery import SCENES, Solid
from scoredistill.scenes.image import Image
from scoredistill.scenes.photographed import Photographed
from scoredistill.settings import named
from scoredistill.sources import open_prior
from scoredistill.views import no_cameras


@dataclass
class Parts:
    """What a resolved run is made of."""

    scene: Solid | Image
    held: Scene  # the scene as it is optimized: held to the photo, where there is one
    prior: Prior
    method: Method
    views: Views
    prompt: Prompt
    background: Tensor
    steps: int
    batch: int
    seed: int
    asset: int

    def optimize(self, resume: dict[str, Any] | None = None) -> Iterator[Step]:
        """The loop over these parts, from the start or from a `Step.checkpoint()`."""
        return optimize(
            self.held,
            self.prior,
            self.method,
            self.views,
            self.prompt,
            steps=self.steps,
            batch=self.batch,
            background=self.background,
            seed=self.seed,
            asset=self.asset,
            resume=resume,
        )


def build(run: Run) -> Parts:
    """The parts of a resolved run; ValueError for a prompt or weights that the prior cannot read."""
    prior = build_prior(run)
    prompt = Prompt(run.prompt, negative(run), build_photo(run, prior))
    prior.conditions(prompt, None, 1)  # an unknown word is an error now, not after a minute
    if (run.batch or run.count or 1) % prior.views:
        raise ValueError(
            f"prior {run.prior!r} denoises {prior.views} views jointly: take a multiple of that a step"
            + (", or --prior toybox" if run.prior == "toybox-mv" else "")
        )
    scene = build_scene(run)
    held: Scene = scene
    if prompt.photo and run.scene != "image":
        held = Photographed(scene, prompt.photo, background(run), preset_of(run).photo)
    return Parts(
        scene=scene,
        held=held,
        prior=prior,
        method=build_method(run, prior),
        views=build_views(run, prior.views),
        prompt=prompt,
        background=background(run),
        steps=run.steps or 0,
        batch=run.batch or 1,
        seed=run.seed,
        asset=run.asset or 0,
    )


def build_prior(run: Run) -> Prior:
    """The prior that the run names, compiled if the run says so; see `open_prior`."""
    told: Any = run.view_text or "words"
    prior: Any = open_prior(run.prior, run.device, told, VIEW_WORDS.get(run.method))
    if run.compile:
        compile_network(prior.net)
    return prior


def build_scene(run: Run) -> Solid | Image:
    """The scene as it is before the first step."""
    return SCENES[run.scene](preset_of(run), vars(run)).to(run.device)


def build_method(run: Run, prior: Prior) -> Method:
    """The method with the run's settings, and where it trains a second score, the prior's own learner."""
    known = settings.arguments(run.settings)
    if "learner_rank" in run.settings:
        begin = getattr(prior, "learner", None)
        if begin is None:
            raise ValueError(f"method {run.method!r} trains a learner, and prior {run.prior!r} has none; see: methods")
        known["learner"] = begin(
            rank=run.settings["learner_rank"], lr=run.settings["learner_lr"], seed=1_000_003 * run.seed + 1_000_001
        )
    return METHODS[run.method](**known)


def build_photo(run: Run, prior: Prior) -> Photo | None:
    """The run's picture, framed for the prior, at the middle distance of its views; ValueError where none is wanted."""
    if not run.image:
        return None
    if not isinstance(prior, Sighted):
        raise ValueError(f"prior {run.prior!r} is shown no picture: leave out --image, or take --prior toybox-pose")
    radius, fov_deg = preset_of(run).views.middle()
    angles = torch.tensor([run.azimuth_deg, run.elevation_deg, fov_deg]).deg2rad()
    camera = orbit(angles[:1], angles[1:2], torch.tensor([radius]), angles[2:], run.size or 1)
    return read_photo(Path(run.image), camera.to(run.device), fill=prior.photo_fill)


def build_views(run: Run, group: int = 1) -> Views:
    """The distribution of cameras, `group` of them evenly round, on the run's device; none for a flat image."""
    if run.scene == "image":
        return no_cameras
    views = dataclasses.replace(preset_of(run).views, size=run.size, group=group)
    return lambda progress, batch, rng: views(progress, batch, rng).to(run.device)


def background(run: Run) -> Tensor:
    """The plain color that scenes are composited over; ValueError for an unknown name."""
    return torch.tensor(named("background", background_name(run), BACKGROUNDS), device=run.device)
