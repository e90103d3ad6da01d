"""The preset `study`: half a run of `fast`, for tables of hundreds of runs."""

from __future__ import annotations

from dataclasses import replace

from scoredistill.recipes.fast import fast
from scoredistill.recipes.recipe import OutputConfig, Recipe

STEPS = 150


def study(
    text: str = "",
    *,
    method: str = "sdi",
    scene: str = "nerf",
    prior: str = "auto",
    picture: str = "",
    device: str = "auto",
    seed: int = 0,
) -> Recipe:
    """Half the steps of `fast`, a small turntable and a coarse mesh; arguments as `fast`."""
    recipe = fast(text, method=method, scene=scene, prior=prior, picture=picture, device=device, seed=seed)
    output = OutputConfig(
        turntable_frames=24, turntable_resolution=96, mesh_resolution=48, mesh_faces=5_000, texture=256
    )
    return replace(recipe, training=replace(recipe.training, steps=STEPS, save_every=75), output=output)
