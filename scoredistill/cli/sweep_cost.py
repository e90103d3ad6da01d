"""What a sweep costs before it runs: denoiser calls as counted, hours and gigabytes by stated assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from scoredistill.cli.costs import run_cost
from scoredistill.config import Config
from scoredistill.priors.load import describe_prior
from scoredistill.recipes.build import build_scene
from scoredistill.recipes.recipe import Recipe, changed
from scoredistill.runs.checkpoint import RETAINED
from scoredistill.sweep.trial import Trial

EMBEDDED_SECONDS = 0.01  # per evaluated image on one core; benchmarks/results/step.md: .006 to .008 on two
PUBLISHED_SECONDS = 0.05  # per evaluated image of 512x512 pixels on a large GPU
START_SECONDS = 5.0  # imports, weights, kernels
FINISH_SECONDS, FINISH_IMAGE_SECONDS = 15.0, 1.0  # preview, turntable, mesh and metrics of 3D scenes; of images
FILES_MB, FILES_IMAGE_MB = 5.0, 1.0  # all files but the checkpoints
STATES = 3  # tensors in a checkpoint for each of the scene: itself and Adam's two means
ASSUMED = (
    f"assumed: {EMBEDDED_SECONDS:g} s per evaluated image of an embedded prior on one core, {PUBLISHED_SECONDS:g} s of "
    f"a published model on a GPU; {START_SECONDS:g} s to start; {FINISH_SECONDS:g} s and {FILES_MB:g} MB for the "
    f"results of a 3D run, {FINISH_IMAGE_SECONDS:g} s and {FILES_IMAGE_MB:g} MB of images; {RETAINED} checkpoints"
)


@dataclass(frozen=True)
class Estimate:
    """The cost of trials: denoiser calls and the images in them, hours of one process, gigabytes on the disk."""

    calls: float = 0.0
    images: float = 0.0
    hours: float = 0.0
    gigabytes: float = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.calls + other.calls,
            self.images + other.images,
            self.hours + other.hours,
            self.gigabytes + other.gigabytes,
        )


def estimate(trials: Sequence[Trial]) -> Estimate:
    """The cost of trials from their first step to their results."""
    return sum((_run(trial.recipe) for trial in trials), Estimate())


def _run(recipe: Recipe) -> Estimate:
    steps = run_cost(recipe)
    published = describe_prior(recipe.prior.name).published
    finish, files = (FINISH_IMAGE_SECONDS, FILES_IMAGE_MB) if recipe.flat else (FINISH_SECONDS, FILES_MB)
    seconds = START_SECONDS + finish + steps.rows * (PUBLISHED_SECONDS if published else EMBEDDED_SECONDS)
    stored = files * 1e6 + RETAINED * STATES * _scene_bytes(recipe.scene, recipe.training.resolution)
    return Estimate(steps.calls, steps.rows, seconds / 3600, stored / 1e9)


@cache
def _scene_bytes(scene: Config, resolution: int) -> int:
    """Bytes of a scene's tensors before the first step."""
    recipe = changed(changed(Recipe(), "scene", scene), "training.resolution", resolution)
    state = build_scene(recipe).state_dict()
    return sum(each.numel() * each.element_size() for each in state.values() if isinstance(each, Tensor))
