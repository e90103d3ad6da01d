"""A run small enough for a test: an untrained network as the prior, a coarse field, small pictures."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from scoredistill import gallery, presets
from scoredistill.kernels.hashgrid import GridLayout
from scoredistill.presets import PRESETS, Preset
from scoredistill.priors import toybox
from scoredistill.priors.unet import Shape, UNet
from scoredistill.toybox.captions import CONTEXT, VOCABULARY

SHAPE = Shape(len(VOCABULARY), CONTEXT, widths=(16, 16, 16), blocks=(1, 1, 1), text_width=16, embedding=16)
PROMPT = "a red car"
MESH = {"resolution": 24, "faces": 500, "texture": 32}
FLAGS = ("--steps", "6", "--batch", "1", "--size", "16", "--save-every", "2", "--steps-per-unit", "2")


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


def fast(method: str, scene: str) -> Preset:
    """The fast preset with a field and pictures of toy size, and splats that multiply at once."""
    nerf = presets.NerfSettings(grid=GridLayout(levels=2, coarsest=4, finest=8, table=2**10), samples=24, occupancy=8)
    preset = presets.fast(method, scene)
    often = dataclasses.replace(preset.splats.densify, begin=2, every=2)
    splats = dataclasses.replace(preset.splats, densify=often)
    return dataclasses.replace(preset, nerf=nerf, splats=splats, turntable=(2, 16), mesh=MESH)


def empty(method: str, scene: str) -> Preset:
    """The same with a field in which there is nothing at all."""
    small = fast(method, scene)
    return dataclasses.replace(small, nerf=dataclasses.replace(small.nerf, blob_radius=1e-3))


if __name__ == "__main__":  # a command line of toy size, to be killed
    from scoredistill.cli import main

    PRESETS["fast"] = fast
    gallery.JUDGED_SIZE = 32
    sys.exit(main())
