"""Tiny recipes and what they need: weights, a picture, configurations, finished runs."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from scoredistill.priors import toybox
from scoredistill.priors.toybox.unet import Shape, UNet
from scoredistill.recipes.fast import fast
from scoredistill.recipes.recipe import OutputConfig, Recipe, changed
from scoredistill.recipes.text import write_recipe
from scoredistill.scenes.nerf import GridConfig, NerfConfig
from scoredistill.scenes.splats import SplatsConfig
from scoredistill.toybox.captions import CONTEXT, VOCABULARY
from tools.abuse.child import call
from tools.abuse.damage import SPARSE

PROMPT = "a red car"
SCENES = ("image", "nerf", "splats")
SHAPE = Shape(len(VOCABULARY), CONTEXT, widths=(16, 16, 16), blocks=(1, 1, 1), text_width=16, embedding=16)
OUTPUT = OutputConfig(2, 16, mesh_resolution=16, mesh_faces=200, texture=16)


def weights(path: Path) -> Path:
    """Random weights of Toybox's kind that answer something else to everything; as built, a network answers zero."""
    torch.manual_seed(0)
    net = UNet(SHAPE)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    toybox.save(path, net)
    return path


def picture(path: Path) -> Path:
    """A picture of a red disk on white, with transparency around it."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (48, 48), (255, 255, 255, 0))
    ImageDraw.Draw(image).ellipse((8, 8, 40, 40), fill=(200, 30, 30, 255))
    if path.suffix in (".jpg", ".ppm"):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    image.save(path)
    return path


def recipe(scene: str, method: str, prior: Path | str, photo: str = "", steps: int = 1, save_every: int = 2) -> Recipe:
    """A recipe of toy size: one image of the prior's size, a coarse field, or a few splats that multiply at once."""
    found = fast(PROMPT, method=method, scene=scene, prior=str(prior), picture=photo, device="cpu")
    node = found.scene
    if isinstance(node, NerfConfig):
        grid = GridConfig(levels=2, coarsest=4, finest=8, table=2**10)
        node = replace(node, grid=grid, samples=24, occupancy=8)
    elif isinstance(node, SplatsConfig):
        node = replace(node, count=150, densify=replace(node.densify, begin=2, every=2))
    else:
        node = changed(node, "count", 1)
    training = replace(found.training, steps=steps, batch=1, resolution=16, save_every=save_every)
    found = replace(found, scene=node, training=training, output=OUTPUT)
    for name in ("steps_per_unit", "solver_steps_per_unit"):  # of inversions
        if hasattr(found.method, name):
            found = changed(found, f"method.{name}", 2)
    return found


def write_config(path: Path, content: Recipe) -> Path:
    """The recipe in a file for --config."""
    path.write_text(write_recipe(content), "utf-8")
    return path


@dataclass(frozen=True)
class Place:
    """Good and odd inputs for invocations."""

    prior: Path  # weights
    odd: Path  # a folder of things that cannot be read
    runs: dict[str, Path]  # finished runs, by scene


def prepare(folder: Path) -> Place:
    """Make the inputs of invocations in `folder`."""
    odd = folder / "odd"
    (odd / "folder").mkdir(parents=True)
    os.mkfifo(odd / "pipe")
    (odd / "dangling").symlink_to("nowhere")
    (odd / "loop").symlink_to("loop")
    (odd / "noise").write_bytes(random.Random(0).randbytes(2000))
    (odd / "text").write_text("a: b\n")
    (odd / "list.json").write_text("[1, 2]")
    (odd / "empty").touch()
    with (odd / "sparse").open("wb") as file:
        file.truncate(SPARSE)
    prior = weights(folder / "prior.safetensors")
    runs = {}
    for scene in SCENES:
        config = write_config(folder / f"{scene}.yaml", recipe(scene, "sdi", prior, steps=3, save_every=1))
        rehearse(config, folder)
        runs[scene] = finished(folder / f"run-{scene}", config)
    return Place(prior, odd, runs)


def rehearse(config: Path, folder: Path) -> None:
    """Do a run in this process, so that forked children find imported and cached what it needs: three times faster."""
    from scoredistill.cli import main

    out = folder / "rehearsal"
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["generate", "--config", str(config), "--out", str(out)])
    if code:
        raise RuntimeError(f"the run of {config} failed")
    shutil.rmtree(out)


def finished(folder: Path, config: Path) -> Path:
    """The folder of a run of a configuration, finished."""
    outcome = call(["generate", "--config", str(config), "--out", str(folder)], folder.parent, 300.0)
    if outcome.code:
        raise RuntimeError(f"the undisturbed run failed: {outcome.err}")
    return folder


def restore(folder: Path, original: Path) -> Path:
    """Make `folder` an exact copy of `original` again."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(original, folder, symlinks=True))
