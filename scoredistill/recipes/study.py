"""The preset `study`: half a run of `fast`, for tables of hundreds of runs."""

from __future__ import annotations

from dataclasses import replace

from scoredistill.recipes.fast import fast
from scoredistill.recipes.preset import Task, preset
from scoredistill.recipes.recipe import OutputConfig, Recipe

STEPS = 150


@preset(joint=True)
def study(task: Task) -> Recipe:
    """Half the steps of `fast`, a small turntable and a coarse mesh."""
    recipe = fast.recipe(task)
    output = OutputConfig(
        turntable_frames=24, turntable_resolution=96, mesh_resolution=48, mesh_faces=5_000, texture=256
    )
    return replace(recipe, training=replace(recipe.training, steps=STEPS, save_every=75), output=output)
