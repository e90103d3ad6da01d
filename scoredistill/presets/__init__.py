"""Presets: what a run does where its flags say nothing, as functions of the method and the scene.

Every number that a flag can replace stands in `Preset.scene` or `Preset.method`; the rest is the scene's and the
cameras'. What a preset does not say of a method is the method's own default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from scoredistill.kernels.hashgrid import GridLayout
from scoredistill.presets import splats
from scoredistill.presets.methods import FAST, PAPER, PULL, SOLID, Settings
from scoredistill.scenes.nerf import NerfSettings, RegularizerSettings
from scoredistill.scenes.photographed import PhotoSettings
from scoredistill.scenes.regularizers import Ramp, constant, lightened
from scoredistill.scenes.splats import SplatSettings
from scoredistill.views import RandomOrbit


@dataclass(frozen=True)
class Preset:
    """The defaults of a run."""

    scene: dict[str, Any]  # by the names of `Run`'s fields
    method: Settings  # by the names of the method's arguments
    nerf: NerfSettings = field(default_factory=NerfSettings)
    splats: SplatSettings = field(default_factory=SplatSettings)
    views: RandomOrbit = field(default_factory=RandomOrbit)
    turntable: tuple[int, int] = (60, 128)  # frames, and pixels a side
    mesh: dict[str, int] = field(default_factory=dict)  # by the names of `extract`'s arguments
    photo: PhotoSettings = field(default_factory=PhotoSettings)


def fast(method: str, scene: str) -> Preset:
    """A few minutes on two CPU cores with the embedded prior; the default. Budget with Stable Diffusion 2.1: 8 GB."""
    scenes: dict[str, dict[str, Any]] = {
        # Slower rates leave the field behind the falling t, faster ones make it a fog.
        "nerf": {"steps": 300, "batch": 4, "size": 64, "lr_grid": 1.5e-2, "lr_mlp": 8e-3},
        "image": {"steps": 300, "count": 4, "size": 64, "lr": 2e-2},
        "splats": splats.FAST_RUN,
    }
    pull = PULL.get(method, 1.0)
    nerf = NerfSettings(regularizers=lightened(_fast_losses(), pull))
    small = replace(splats.FAST, regularizers=lightened(splats.FAST.regularizers, pull))
    settings = FAST.get(method, {}) | ({} if scene == "image" else SOLID.get(method, {}))
    return Preset(scenes[scene] | {"save_every": 25}, settings, nerf, small)


def _fast_losses() -> RegularizerSettings:
    """A fifth to a third of SDI's weights: at full weight a toy shrinks to a ball. Sparsity stays on: it clears fog."""
    return RegularizerSettings(
        orient=constant(0.03),
        sparsity=Ramp(0.0, 0.03, 0.0, 0.3),
        opaque=constant(0.03),
        z_variance=constant(0.2),
        convexity=Ramp(0.03, 0.0, 0.4, 0.4),
    )


def paper(method: str, scene: str) -> Preset:
    """The official settings of each method (METHODS 4 to 6), with SDI's scene (METHODS 7).

    Budget with Stable Diffusion 2.1 at 512 x 512: 24 GB, of which tensors fill about six (benchmarks/memory.py).
    """
    scenes: dict[str, dict[str, Any]] = {
        "nerf": {
            "steps": 10_000,
            "batch": 1,
            "size": 64 if method == "sds" else 512,
            "lr_grid": 1e-2,
            "lr_mlp": 1e-2,
        },
        "image": {"steps": 1000, "count": 4, "size": 64, "lr": 5e-2},  # the notebook's .1 is for x in [-1, 1]
        "splats": splats.PAPER_RUN,
    }
    settings = scenes[scene] | {"save_every": 250}
    views = splats.PAPER_VIEWS if scene == "splats" else _paper_views()
    film = {"turntable": (120, 256), "mesh": {"resolution": 256, "faces": 20_000, "texture": 1024}}
    return Preset(settings, PAPER.get(method, {}), _paper_nerf(method), splats.PAPER, views, **film)


def _paper_nerf(method: str) -> NerfSettings:
    """METHODS 7.1 to 7.3 and 7.5; SDI's convexity as in the paper (5.7: weight .1 for 40 % of the steps)."""
    sds = RegularizerSettings(
        orient=Ramp(10.0, 1000.0, 0.0, 0.5),
        sparsity=constant(1.0),
        opaque=constant(0.0),
        z_variance=constant(0.0),
        convexity=constant(0.0),
    )
    return NerfSettings(
        bounds=2.0,
        grid=GridLayout(levels=16, coarsest=16, finest=4096, table=2**19),
        hidden=64,
        samples=512,
        tile=2**16,
        normals="analytic",
        normals_at="samples",
        shading="lambert",
        regularizers=sds if method == "sds" else RegularizerSettings(),
    )


def _paper_views() -> RandomOrbit:
    """METHODS 7.4."""
    return RandomOrbit(radius=(1.5, 2.0), fov_deg=(40.0, 70.0), position_jitter=0.1, target_jitter=0.2, up_jitter=0.02)


def low_vram(method: str, scene: str) -> Preset:
    """`paper` rendered in smaller tiles: the same gradients, in less memory and a little more time.

    Budget with Stable Diffusion 2.1 at 512 x 512: 12 GB, of which tensors fill about four (benchmarks/memory.py).
    """
    preset = paper(method, scene)
    return replace(preset, nerf=replace(preset.nerf, tile=2**13))


PRESETS: dict[str, Callable[[str, str], Preset]] = {"fast": fast, "paper": paper, "low-vram": low_vram}
