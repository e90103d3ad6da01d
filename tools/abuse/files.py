"""Damaged files of every kind that a command reads, each with a command that reads it."""

from __future__ import annotations

import importlib
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.abuse import world
from tools.abuse.damage import FATAL, GENTLE
from tools.abuse.grammar import Case

PICTURES = ("png", "jpg", "webp", "ppm", "gif", "bmp", "tiff")
OWN_METHOD = "from scoredistill import Distilled\ndef mine(query, x):\n    return Distilled(x.detach())\n"
OWN_METRIC = "def mine(rgb, prompt):\n    return float(rgb.mean())\n"


@dataclass(frozen=True)
class Target:
    """A file, and a command that reads it."""

    path: Path
    arguments: tuple[str, ...]
    needed: bool = True  # whether nothing can be done without it


class Files:
    """Draws damaged files for a prepared folder; with `model`, those of a published model too."""

    def __init__(self, place: world.Place, seed: int, model: Path | None = None) -> None:
        self.place, self.rng, self.model = place, random.Random(seed), model
        self.subjects: dict[str, Callable[[Path], Target]] = {
            "file: configuration": self._config,
            "file: config.yaml of a run": lambda folder: self._of_run(folder, "config.yaml", needed=True),
            "file: log.jsonl": lambda folder: self._of_run(folder, "log.jsonl", resume=True),
            "file: checkpoint tensors": lambda folder: self._of_run(folder, "checkpoint/*.safetensors"),
            "file: trace picture": lambda folder: self._of_run(folder, "trace/*.png", resume=True),
            "file: result": lambda folder: self._of_run(folder, "[mpti]*.[gpmjh]*", resume=True),
            "file: weights": self._weights,
            "file: picture": self._picture,
            "file: own method": self._own_method,
            "file: own metric": self._own_metric,
        }
        if model:
            self.subjects |= {"file: model": self._model, "file: model index": self._index, "file: LoRA": self._lora}

    def case(self, folder: Path) -> Case:
        """A command in `folder` that reads a damaged file."""
        subject = self.rng.choice(list(self.subjects))
        target = self.subjects[subject](folder)
        kinds = self.rng.choice((GENTLE, FATAL, FATAL))
        kind = self.rng.choice(list(kinds))
        kinds[kind](target.path, self.rng)
        useless = kinds is FATAL and not (kind == "a picture" and "picture" in subject)
        change = f"{target.path.relative_to(folder)}: {kind}"
        return Case(target.arguments, subject, (change,), "refuse" if target.needed and useless else "any")

    def _config(self, folder: Path) -> Target:
        scene = self.rng.choice(world.SCENES)
        path = world.write_config(folder / "recipe.yaml", world.recipe(scene, "sdi", self.place.prior))
        return Target(path, ("generate", world.PROMPT, "--config", str(path), "--out", str(folder / "out")))

    def _of_run(self, folder: Path, pattern: str, needed: bool = False, resume: bool = False) -> Target:
        run = world.restore(folder / "run", self.place.runs[self.rng.choice(world.SCENES)])
        paths = sorted(run.glob(pattern))
        commands = ("resume",) if resume else ("resume", "resume", "evaluate", "render", "export")
        return Target(self.rng.choice(paths), (self.rng.choice(commands), str(run)), needed)

    def _weights(self, folder: Path) -> Target:
        path = Path(shutil.copyfile(self.place.prior, folder / "weights.safetensors"))
        small = {
            "image": ("--steps", "1", "--resolution", "16", "--scene.count", "1", "--out", str(folder / "out")),
            "sample": ("--count", "1", "--steps", "1", "--out", str(folder / "out.png")),
        }
        command = self.rng.choice(list(small))
        return Target(path, (command, world.PROMPT, "--prior", str(path), *small[command]))

    def _picture(self, folder: Path) -> Target:
        path = world.picture(folder / f"photo.{self.rng.choice(PICTURES)}")
        config = world.recipe("nerf", "sds", "toybox-pose", photo=str(path))
        written = world.write_config(folder / "recipe.yaml", config)
        return Target(path, ("generate", "--config", str(written), "--out", str(folder / "out")))

    def _own_method(self, folder: Path) -> Target:
        path = folder / "mine.py"
        path.write_text(OWN_METHOD)
        flags = ("--steps", "1", "--resolution", "16", "--scene.count", "1", "--out", str(folder / "out"))
        return Target(
            path, ("image", world.PROMPT, "--prior", str(self.place.prior), "--method", f"{path}:mine", *flags)
        )

    def _own_metric(self, folder: Path) -> Target:
        path = folder / "mine.py"
        path.write_text(OWN_METRIC)
        return Target(path, ("evaluate", str(self.place.runs["image"]), "--metric", f"{path}:mine"))

    def _model(self, folder: Path) -> Target:
        """A file of a model; not every one is needed."""
        model, arguments = self._sample(folder)
        paths = sorted(path for path in model.rglob("*") if path.is_file())
        return Target(self.rng.choice(paths), arguments, needed=False)

    def _index(self, folder: Path) -> Target:
        model, arguments = self._sample(folder)
        return Target(model / "model_index.json", arguments)

    def _lora(self, folder: Path) -> Target:
        assert self.model is not None
        _, arguments = self._sample(folder)
        path = Path(shutil.copyfile(self.model.parent / "lora.safetensors", folder / "lora.safetensors"))
        return Target(path, (*arguments, "--lora", str(path)))

    def _sample(self, folder: Path) -> tuple[Path, tuple[str, ...]]:
        assert self.model is not None
        copy = world.restore(folder / "model", self.model)
        flags = ("--count", "1", "--steps", "1", "--out", str(folder / "out.png"))
        return copy, ("sample", "a hamburger", "--prior", str(copy), *flags)


def published(folder: Path) -> Path:
    """A tiny Stable Diffusion in the layout of diffusers, and a LoRA file beside it, as the tests make them."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    pipelines, lora = importlib.import_module("tiny_pipelines"), importlib.import_module("tiny_lora")
    pipeline = pipelines.save("sd15", folder / "model")
    lora.diffusers_format(pipeline, folder).rename(folder / "lora.safetensors")
    return folder / "model"
