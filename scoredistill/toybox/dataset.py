"""Captioned views of random toys, in shards on disk.

A shard is `shard-00000.npy` (rgb, uint8 [n 3 size size]) and `shard-00000.json` (caption, description and camera of
each view). The JSON is written last: a shard that has one is complete. The seed of a shard depends on its number only,
not on the process that renders it.
"""

from __future__ import annotations

import json
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scoredistill.camera import FOV_DEG, ORBIT_RADIUS, Cameras, orbit
from scoredistill.files import replacing, write_safely
from scoredistill.toybox.captions import Description, caption, sample
from scoredistill.toybox.kinds import build
from scoredistill.toybox.render import BACKGROUND, render

SHARD = 4096  # views: about a minute on one core, 50 MB at 64 pixels
ELEVATION_DEG = (-10.0, 65.0)
TARGET_JITTER = 0.02  # standard deviation of the look-at point: a distilled scene is never exactly centered


@dataclass(frozen=True)
class Views:
    """A dataset in memory; `captions` have no view words; `descriptions` are their meanings."""

    rgb: UInt8[Tensor, "N 3 H W"]
    captions: list[str]
    descriptions: list[Description]
    azimuth: Float[Tensor, "N"]  # radians
    elevation: Float[Tensor, "N"]
    radius: Float[Tensor, "N"]

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True)
class _Plan:
    """The settings that determine a shard."""

    folder: Path
    seed: int
    views_per_toy: int
    size: int
    ring: int


def make(
    folder: str | Path,
    count: int,
    *,
    seed: int,
    views_per_toy: int = 4,
    size: int = 64,
    workers: int = 2,
    shard: int = SHARD,
    ring: int = 1,
) -> None:
    """Write `count` views (rounded up to whole toys) to `folder`, skipping the shards that are already there.

    The views of a toy come in rings of `ring` cameras, evenly around it at one elevation and distance. ValueError if
    the folder contains a dataset with other settings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    toys_per_shard = max(shard // views_per_toy, 1)
    settings = {"seed": seed, "views_per_toy": views_per_toy, "size": size, "toys_per_shard": toys_per_shard}
    settings |= {"ring": ring} if ring > 1 else {}
    _check_settings(folder / "dataset.json", settings)
    plan = _Plan(folder, seed, views_per_toy, size, ring)
    toys = math.ceil(count / views_per_toy)
    sizes = [min(toys_per_shard, toys - first) for first in range(0, toys, toys_per_shard)]
    jobs = [(plan, index, toys) for index, toys in enumerate(sizes) if _length(plan, index) < toys * views_per_toy]
    if workers <= 1:
        for job in jobs:
            _write_shard(*job)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        for future in [pool.submit(_write_shard, *job) for job in jobs]:
            future.result()


def load(folder: str | Path) -> Views:
    """Read every complete shard of a folder (12 KB of memory per view at 64 pixels); ValueError if there is none."""
    names = _complete(Path(folder))
    rows = [row for name in names for row in json.loads(name.read_text())]
    return Views(
        torch.cat([torch.from_numpy(np.load(name.with_suffix(".npy"))) for name in names]),
        [row["caption"] for row in rows],
        [describe(row["description"]) for row in rows],
        torch.tensor([row["azimuth"] for row in rows]),
        torch.tensor([row["elevation"] for row in rows]),
        torch.tensor([row.get("radius", fmean(ORBIT_RADIUS)) for row in rows]),  # missing in older data
    )


def stored(folder: str | Path) -> int:
    """Number of views in the complete shards of a folder; ValueError if there is none."""
    return sum(len(json.loads(name.read_text())) for name in _complete(Path(folder)))


def describe(fields: dict[str, Any]) -> Description:
    """The Description whose `dataclasses.asdict` is `fields`."""
    description = Description(**fields)
    return description if description.on is None else replace(description, on=describe(fields["on"]))


def random_cameras(rng: np.random.Generator, count: int, size: int, ring: int = 1) -> Cameras:
    """Cameras of the dataset: any azimuth, ELEVATION_DEG, a jittered look-at point; in rings of `ring` cameras."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.tensor(rng.uniform(low, high, count // ring), dtype=torch.float32).repeat_interleave(ring)

    azimuth = uniform(-math.pi, math.pi) + torch.arange(count) % ring * (2 * math.pi / ring)
    return orbit(
        torch.remainder(azimuth + math.pi, 2 * math.pi) - math.pi if ring > 1 else azimuth,
        torch.deg2rad(uniform(*ELEVATION_DEG)),
        uniform(*ORBIT_RADIUS),
        torch.full((count,), math.radians(FOV_DEG)),
        size,
        target_jitter=torch.tensor(rng.normal(0, TARGET_JITTER, (count, 3)), dtype=torch.float32),
    )


def _complete(folder: Path) -> list[Path]:
    """The JSON files of the complete shards; ValueError if there is none."""
    names = sorted(folder.glob("shard-*.json"))
    if not names:
        raise ValueError(f"no Toybox data in {folder}: no shard-*.json; create it with scoredistill.toybox.make")
    return names


def _check_settings(path: Path, settings: dict[str, int]) -> None:
    if not path.exists():
        write_safely(path, json.dumps(settings).encode())
    found = json.loads(path.read_text())
    if found != settings:
        raise ValueError(f"{path.parent} has Toybox data made with {found}, not {settings}: choose another folder")


def _length(plan: _Plan, index: int) -> int:
    """Number of views in a shard on disk; 0 if it is missing or incomplete."""
    path = plan.folder / f"shard-{index:05d}.json"
    return len(json.loads(path.read_text())) if path.exists() else 0


def _write_shard(plan: _Plan, index: int, toys: int) -> None:
    rng = np.random.default_rng([plan.seed, index])
    images, rows = [], []
    for _ in range(toys):
        rgb, captioned = _views(plan, rng)
        images.append(rgb)
        rows.extend(captioned)
    path = plan.folder / f"shard-{index:05d}.npy"
    path.with_suffix(".json").unlink(missing_ok=True)  # of the same shard when it was shorter
    with replacing(path) as part:
        np.save(part, np.concatenate(images))
    write_safely(path.with_suffix(".json"), json.dumps(rows).encode())


def _views(plan: _Plan, rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """One random toy from several random cameras: rgb uint8 [n 3 size size], and the JSON row of each view."""
    description = sample(rng)
    toy = build(description, rng)
    cameras = random_cameras(rng, plan.views_per_toy, plan.size, plan.ring)
    frame = render(toy, cameras, torch.tensor(BACKGROUND))
    rgb = (frame.rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    view = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), cameras.radius.tolist(), strict=True)
    fields = asdict(description)
    return rgb, [
        {
            "caption": caption(description, rng),
            "description": fields,
            "azimuth": azimuth,
            "elevation": elevation,
            "radius": radius,
        }
        for azimuth, elevation, radius in view
    ]
