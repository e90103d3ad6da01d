"""The preset `study`: `fast` with smaller results, for tables of hundreds of runs."""

from __future__ import annotations

from dataclasses import replace

from scoredistill.recipes.fast import fast
from scoredistill.recipes.preset import Task, preset
from scoredistill.recipes.recipe import OutputConfig, Recipe


@preset(joint=True)
def study(task: Task) -> Recipe:
    """`fast` with a small turntable, a coarse mesh and few checkpoints: the scenes are the same."""
    output = OutputConfig(
        turntable_frames=24, turntable_resolution=96, mesh_resolution=48, mesh_faces=5_000, texture=256
    )
    recipe = fast.recipe(task)
    return replace(recipe, training=replace(recipe.training, save_every=recipe.training.steps // 2), output=output)
