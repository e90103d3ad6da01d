"""How a preset and what a run was told become a scene; `told` are the fields of a resolved `Run` by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.presets import Preset
from scoredistill.scenes.image import Image
from scoredistill.scenes.nerf import NeRF
from scoredistill.scenes.regularizers import scaled
from scoredistill.scenes.splat_start import ball, on_mesh
from scoredistill.scenes.splats import Splats

Solid = NeRF | Splats
"""A scene that can be seen from all round and exported as a mesh."""

_SHARED = ("sparsity", "opaque", "z_variance", "convexity")
REGULARIZERS = {"nerf": ("orient", *_SHARED), "splats": (*_SHARED, "variation", "spread", "needles"), "image": ()}
"""The losses of each scene, whose weights a run multiplies."""
RATES = ("lr_position", "lr_color", "lr_opacity", "lr_spread", "lr_rotation")


def nerf(preset: Preset, told: Mapping[str, Any]) -> NeRF:
    """The preset's radiance field with the run's learning rates and factors on its losses."""
    losses = scaled(preset.nerf.regularizers, _some(told, REGULARIZERS["nerf"]))
    settings = replace(preset.nerf, regularizers=losses, **_some(told, ("lr_grid", "lr_mlp")))
    return NeRF(settings, scene_rng(told["seed"]))


def splats(preset: Preset, told: Mapping[str, Any]) -> Splats:
    """The preset's splats with the run's learning rates, factors and start; ValueError for a start without a mesh."""
    losses = scaled(preset.splats.regularizers, _some(told, REGULARIZERS["splats"]))
    s = replace(preset.splats, regularizers=losses, **_some(told, ("count", "steps", *RATES)))
    rng = scene_rng(told["seed"])
    if told["start"] == "ball":
        return Splats(s, ball(s.count, s.radius, s.opacity, s.degree, rng))
    path = Path(told["start"])
    return Splats(s, on_mesh(path / "mesh.glb" if path.is_dir() else path, s.count, s.opacity, s.degree, rng))


def image(preset: Preset, told: Mapping[str, Any]) -> Image:
    """Images side by side, each from its own gray noise."""
    return Image(image_start(told), lr=told["lr"])


def image_start(told: Mapping[str, Any]) -> Float[Tensor, "B 3 H W"]:
    """`count` images of gray noise, the start of a 2-D distillation."""
    shape = (told["count"], 3, told["size"], told["size"])
    return 0.5 + 0.2 * torch.randn(shape, generator=scene_rng(told["seed"]))


def scene_rng(seed: int) -> torch.Generator:
    """The dice of a scene's initialization, apart from those of the loop (`optimize.Dice`)."""
    return torch.Generator().manual_seed(1_000_003 * seed + 1_000_002)


SCENES: dict[str, Callable[[Preset, Mapping[str, Any]], Solid | Image]] = {
    "nerf": nerf,
    "splats": splats,
    "image": image,
}


def _some(told: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: told[name] for name in names}
