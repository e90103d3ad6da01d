"""From a recipe to the objects of a run.

Recipe --build--> Parts --optimize--> steps
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoredistill.camera import Cameras, orbit
from scoredistill.contracts import HasPixels, Method, Photo, Prior, Prompt, Scene, Step, Views
from scoredistill.optimize import optimize
from scoredistill.priors.compiled import compile_network
from scoredistill.priors.diffusers.view_prompting import ViewAngles
from scoredistill.priors.load import describe_prior, load_prior
from scoredistill.randomness import stream
from scoredistill.recipes.preset import resolved_device
from scoredistill.recipes.recipe import BACKGROUNDS, PriorConfig, Recipe, changed
from scoredistill.scenes.photo import PhotoScene
from scoredistill.scenes.picture import read_photo
from scoredistill.scenes.splats import SplatsConfig
from scoredistill.views import no_cameras


@dataclass
class Parts:
    """The objects of a run."""

    recipe: Recipe
    scene: Any  # as it is rendered and exported
    optimized: Scene  # as it is optimized: with the losses on the input picture, where there is one
    prior: Prior
    method: Method
    views: Views
    prompt: Prompt
    background: Tensor

    def optimize(self, resume: dict[str, Any] | None = None) -> Iterator[Step]:
        """The optimization loop over these parts, from the start or from a `Step.checkpoint()`."""
        training = self.recipe.training
        return optimize(
            self.optimized,
            self.prior,
            self.method,
            self.views,
            self.prompt,
            steps=training.steps,
            batch=training.batch,
            updates=training.updates,
            background=self.background,
            seed=training.seed,
            asset_seed=training.asset_seed,
            resume=resume,
        )


def build(recipe: Recipe) -> Parts:
    """The objects of a run; ValueError for a prompt, weights or a picture that cannot be used."""
    if not recipe.prompt.text.strip():
        raise ValueError('no prompt: say what to generate, as in: scoredistill generate "a purple snowman"')
    prior = build_prior(recipe.prior)
    prompt = Prompt(recipe.prompt.text, recipe.prompt.negative, build_photo(recipe))
    prior.conditions(prompt, None, prior.views)  # an unknown word is an error now, not after a minute
    scene = build_scene(recipe)
    _check_groups(recipe, scene, prior)
    background = background_color(recipe)
    optimized: Scene = scene
    if prompt.photo and not recipe.flat:
        optimized = PhotoScene(scene, prompt.photo, background, recipe.prompt.picture.loss)
    method = recipe.method.prepare(prior, recipe.training.seed)
    return Parts(recipe, scene, optimized, prior, method, build_views(recipe, prior.views), prompt, background)


def build_prior(config: PriorConfig) -> Prior:
    """The prior, its network compiled where the recipe says so; see `load_prior`."""
    dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
    prior: Any = load_prior(
        config.name,
        resolved_device(config.device),
        dtype=dtype,
        view_prompting=config.view_prompting,
        view_angles=ViewAngles(config.front_deg, config.back_deg, config.overhead_deg),
        lora=config.lora,
    )
    if config.compile:
        net = getattr(prior, "evaluated", getattr(prior, "net", None))
        if net is None:  # a prior of one's own
            raise ValueError(f"prior {config.name!r} has no network `net` to compile: leave out --prior.compile")
        compile_network(net)
    return prior


def build_scene(recipe: Recipe) -> Any:
    """The scene before the first step, on the device of the recipe."""
    training, config = recipe.training, recipe.scene
    rng = stream(training.seed, "scene")
    updates = training.steps * training.updates
    scene = config.build(rng=rng, steps=updates, resolution=training.resolution)  # type: ignore[attr-defined]
    return scene.to(recipe.prior.device) if hasattr(scene, "to") else scene


def build_scene_to_load(recipe: Recipe) -> Any:
    """A scene for a state that replaces all of it, so that the mesh which splats started from may be gone."""
    return build_scene(changed(recipe, "scene.start", "ball") if isinstance(recipe.scene, SplatsConfig) else recipe)


def build_photo(recipe: Recipe) -> Photo | None:
    """The input picture, framed for the prior, at the middle distance of the training views."""
    picture = recipe.prompt.picture
    if not picture.file:
        return None
    needs = describe_prior(recipe.prior.name)
    if not needs.picture:
        raise ValueError(f"prior {recipe.prior.name!r} takes no picture: leave out --image, or use --prior toybox-pose")
    radius, fov_deg = recipe.views.middle()
    angles = torch.tensor([picture.azimuth_deg, picture.elevation_deg, fov_deg]).deg2rad()
    camera = orbit(angles[:1], angles[1:2], torch.tensor([radius]), angles[2:], recipe.training.resolution)
    return read_photo(Path(picture.file), camera.to(recipe.prior.device), fill=needs.picture_fill)


def build_views(recipe: Recipe, group: int = 1) -> Views:
    """The training cameras of the recipe at each progress, `group` of them evenly around; none for a flat scene."""
    if recipe.flat:
        return no_cameras

    def cameras(progress: float, batch: int, rng: torch.Generator) -> Cameras:
        count, resolution = recipe.training.batch_at(progress, batch), recipe.training.resolution_at(progress)
        return recipe.views.cameras(count, rng, resolution=resolution, group=group).to(recipe.prior.device)

    return cameras


def background_color(recipe: Recipe) -> Tensor:
    """The background color [3] of all renders, on the device of the recipe."""
    return torch.tensor(BACKGROUNDS[recipe.training.background], device=recipe.prior.device)


def _check_groups(recipe: Recipe, scene: Any, prior: Prior) -> None:
    """ValueError unless the views of a step make whole groups of those that the prior denoises jointly."""
    batch = recipe.training.batch
    batches = batch, recipe.training.batch_at(0.0, batch)
    counts = [len(scene.pixels)] if isinstance(scene, HasPixels) else batches
    if any(count % prior.views for count in counts):
        flag = "--scene.count" if recipe.flat else "--batch"
        raise ValueError(
            f"prior {Path(recipe.prior.name).name!r} denoises {prior.views} views jointly: set {flag} to a multiple "
            f"of {prior.views}" + (", or use --prior toybox" if recipe.prior.name == "toybox-mv" else "")
        )
