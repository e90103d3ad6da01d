"""From flags to parts: gaps are filled by the preset, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import SHAPE

from scoredistill import run as runs
from scoredistill.methods.catalogue import METHODS
from scoredistill.parts import build, build_method, build_scene, build_views
from scoredistill.presets import PRESETS
from scoredistill.presets.methods import carried
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.priors.unet import UNet
from scoredistill.run import Run, resolve
from scoredistill.scenery import SCENES, image_start
from scoredistill.scenes.nerf import NeRF
from scoredistill.schedule import cosine, scaled_linear
from scoredistill.settings import settings_of


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_speaks_of_all_its_settings(preset: str, scene: str, method: str) -> None:
    run = resolve(Run("a red car", preset=preset, scene=scene, method=method))
    assert run.settings.keys() == settings_of(method).keys()
    assert resolve(run) == run
    assert callable(build_method(run, ToyboxPrior(UNet(SHAPE))))


def test_what_is_said_wins_over_the_preset() -> None:
    run = resolve(Run("a red car", steps=7, convexity=0.5, batch=2, settings={"scale": 3}))
    scene = build_scene(run)
    assert isinstance(scene, NeRF)
    preset = runs.preset_of(run).nerf.regularizers
    assert (run.steps, run.settings["scale"], run.batch) == (7, 3, 2)
    assert scene.settings.regularizers.convexity.start == 0.5 * preset.convexity.start
    assert scene.settings.regularizers.sparsity == preset.sparsity


def test_cameras_have_the_size_of_the_run() -> None:
    run = resolve(Run("a red car", size=20))
    cameras = build_views(run)(0.0, 3, torch.Generator())
    assert cameras is not None
    assert (len(cameras), cameras.height) == (3, 20)


@pytest.mark.parametrize("t", [0.02, 0.25, 0.5, 0.98])
def test_carried_times_have_equal_noise(t: float) -> None:
    """sigma / alpha of Toybox at the carried time is the last one in its table not above Stable Diffusion's at t."""
    one = torch.zeros(1, dtype=torch.float64)
    wanted = scaled_linear().sbar(torch.tensor([t]), one)
    here = torch.tensor([carried(t)], dtype=torch.float64)
    assert cosine().sbar(here, one) <= wanted < cosine().sbar(here + 1e-3, one)


def test_seeds_differ_and_repeat() -> None:
    start = {seed: image_start(vars(resolve(Run("a red car", scene="image", seed=seed)))) for seed in (0, 1)}
    assert torch.equal(start[0], image_start(vars(resolve(Run("a red car", scene="image", seed=0)))))
    assert not torch.equal(start[0], start[1])
    assert not torch.equal(start[0][0], start[0][1])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"method": "sdx"}, "unknown method 'sdx'; nearest known: "),
        ({"scene": "splat"}, "unknown scene"),
        ({"prior": "toyboks"}, "unknown prior 'toyboks'; nearest known: toybox"),
        ({"preset": "fats"}, "unknown preset 'fats'; nearest known: fast"),
        ({"settings": {"weight": "sbarr"}}, "nearest known: sbar"),
        ({"settings": {"reduction": "mean"}}, "unknown reduction"),
        ({"settings": {"scale": "much"}}, "scale must be float, got 'much'"),
        ({"device": "tpu"}, "unknown device"),
        ({"method": "sds", "settings": {"tau": 0.1}}, "has no setting tau; it has: .*scale"),
        ({"scene": "image", "lr_grid": 0.1, "batch": 2}, "has no setting batch, lr_grid"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"prompt": "  "}, "no prompt"),
    ],
)
def test_what_does_not_fit_is_named(flags: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(Run(**{"prompt": "a red car"} | flags))


def test_weights_elsewhere_are_remembered_by_their_full_path() -> None:
    assert Path(resolve(Run("a red car", prior="here.safetensors")).prior).is_absolute()
    with pytest.raises(ValueError, match=r"here\.safetensors"):
        build(resolve(Run("a red car", prior="here.safetensors")))


@pytest.mark.parametrize("scene", ["nerf", "splats"])
def test_a_scene_is_held_as_firmly_as_its_method_pulls(scene: str) -> None:
    """ISM's gradient is a thirtieth of SDI's: so are the losses beside it; SDI and SDS have the preset's own."""
    ism, sdi = (getattr(PRESETS["fast"](method, scene), scene).regularizers for method in ("ism", "sdi"))
    assert ism.sparsity.end == pytest.approx(0.03 * sdi.sparsity.end)
    assert ism.convexity.start == pytest.approx(0.03 * sdi.convexity.start)
    assert PRESETS["fast"]("sds", scene).nerf == PRESETS["fast"]("sdi", scene).nerf
