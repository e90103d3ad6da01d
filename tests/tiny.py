"""A run small enough for a test: an untrained network as the prior, a coarse field, small pictures."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from scoredistill.priors import toybox
from scoredistill.priors.toybox.unet import Shape, UNet
from scoredistill.recipes import fast as preset
from scoredistill.recipes.presets import PRESETS
from scoredistill.recipes.recipe import OutputConfig, Recipe
from scoredistill.runs import renders
from scoredistill.scenes.nerf import GridConfig, NerfConfig
from scoredistill.scenes.splats import SplatsConfig
from scoredistill.toybox.captions import CONTEXT, VOCABULARY

SHAPE = Shape(len(VOCABULARY), CONTEXT, widths=(16, 16, 16), blocks=(1, 1, 1), text_width=16, embedding=16)
PROMPT = "a red car"
OUTPUT = OutputConfig(2, 16, mesh_resolution=24, mesh_faces=500, texture=32)
SMALL = ("--steps", "6", "--batch", "1", "--resolution", "16", "--training.save-every", "2")
FLAGS = (*SMALL, "--method.steps-per-unit", "2")


def prior_file(folder: Path) -> Path:
    """Weights of an untrained prior."""
    torch.manual_seed(0)
    path = folder / "tiny.safetensors"
    toybox.save(path, UNet(SHAPE))
    return path


def lively_net() -> UNet:
    """An untrained network that answers something else to everything: as built, it answers zero."""
    torch.manual_seed(0)
    net = UNet(SHAPE)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return net


def fast(text: str = "", **choices: Any) -> Recipe:
    """The fast preset with a field and pictures of toy size, and splats that multiply at once."""
    recipe = preset.fast(text, **choices)
    scene = recipe.scene
    if isinstance(scene, NerfConfig):
        grid = GridConfig(levels=2, coarsest=4, finest=8, table=2**10)
        scene = NerfConfig(grid=grid, samples=24, occupancy=8, lr_grid=scene.lr_grid, lr_mlp=scene.lr_mlp)
    elif isinstance(scene, SplatsConfig):
        scene = replace(scene, densify=replace(scene.densify, begin=2, every=2))
    return replace(recipe, scene=scene, output=OUTPUT)


def empty(text: str = "", **choices: Any) -> Recipe:
    """The same with a field in which there is nothing at all."""
    recipe = fast(text, **choices)
    return replace(recipe, scene=replace(recipe.scene, blob_radius=1e-3))


if __name__ == "__main__":  # a command line of toy size, to be killed
    from scoredistill.cli import main

    PRESETS["fast"] = fast
    renders.RESOLUTION = 32
    sys.exit(main())
