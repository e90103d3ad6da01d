"""Views of toys with and without each part of their faces, in shards on disk: the data of tools/train_parts.py.

A shard is `shard-00000.npy` (uint8 [n 1 + P 3 64 64]: the render, and that without each part) and `shard-00000.json`
(description, azimuth and elevation of each view). The JSON is written last: a shard that has one is complete.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from scoredistill.camera import Cameras
from scoredistill.files import replacing, write_safely
from scoredistill.toybox import build, captions, dataset, visibility
from scoredistill.toybox.captions import Description

SIZE = 64
SHARD = 1024  # views: 75 MB
VIEWS_PER_TOY, DRAWN, FRONTAL = 8, 16, 6  # of the cameras drawn for a toy, those most to the front, and some others
HELD_OUT = 1024  # views at the end of the folder, a quarter at most, whose toys are excluded from training
OTHERS = 0.15  # share of the toys without eyes that are taken: they are two thirds of the language


@dataclass(frozen=True)
class PartViews:
    """The views of a folder."""

    shards: list[np.ndarray]  # each [n 1 + P 3 64 64], left on the disk until it is read
    descriptions: list[Description]
    azimuth: Tensor  # [N], radians
    elevation: Tensor  # [N], radians

    def __len__(self) -> int:
        return len(self.descriptions)

    @property
    def front(self) -> Bool[Tensor, "N"]:
        """Which are front views."""
        angles = zip(self.azimuth.tolist(), self.elevation.tolist(), strict=True)
        return torch.tensor([captions.view_words(*each) == "front view" for each in angles])

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        """The pictures of some views, [B 1 + P 3 64 64] in [0, 1]."""
        ends = np.cumsum([len(shard) for shard in self.shards])
        shards = np.searchsorted(ends, rows, "right").tolist()  # an earlier and smaller data set had a smaller last one
        places = zip(shards, (rows - ends[shards]).tolist(), strict=True)  # counted from the end
        chosen = np.stack([self.shards[shard][row] for shard, row in places])
        return torch.from_numpy(chosen).float() / 255


def make(folder: Path, count: int, *, seed: int, workers: int) -> None:
    """Write `count` views, rounded up to whole toys, skipping the shards that are there; the seed is that of each."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [min(SHARD, count - first) for first in range(0, count, SHARD)]
    missing = [index for index in range(len(sizes)) if not _path(folder, index).with_suffix(".json").exists()]
    jobs = (repeat(folder), missing, [math.ceil(sizes[index] / VIEWS_PER_TOY) for index in missing], repeat(seed))
    if workers <= 1:
        list(map(_write, *jobs))
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        list(pool.map(_write, *jobs))


def load(folder: Path) -> PartViews:
    """The complete shards of a folder."""
    names = sorted(folder.glob("shard-*.json"))
    rows = [row for name in names for row in json.loads(name.read_text())]
    shards = [np.load(name.with_suffix(".npy"), mmap_mode="r") for name in names]
    angles = torch.tensor([(row["azimuth"], row["elevation"]) for row in rows])
    return PartViews(shards, [dataset.describe(row["description"]) for row in rows], *angles.unbind(1))


def held_out(count: int) -> int:
    """How many of `count` views judge the meter, whole toys."""
    return min(HELD_OUT, count // 4 // VIEWS_PER_TOY * VIEWS_PER_TOY)


def seen(visible: Bool[Tensor, "B P"]) -> Bool[Tensor, "B S"]:
    """What of `part_meter.SEEN` a picture shows, from the visible ones of `visibility.PARTS`."""
    left, right, *others = visible.unbind(1)
    return torch.stack([left & right, left | right, *others], 1)


def descriptions(rng: np.random.Generator) -> Iterator[Description]:
    """Random descriptions of the language, most of them of toys with eyes."""
    while True:
        description = captions.sample(rng)
        if description.kind in visibility.EYES or rng.random() < OTHERS:
            yield description


def _cameras(rng: np.random.Generator) -> Cameras:
    cameras = dataset.random_cameras(rng, DRAWN, SIZE)
    order = cameras.azimuth.abs().argsort()
    return cameras[
        torch.cat([order[:FRONTAL], order[FRONTAL : DRAWN : (DRAWN - FRONTAL) // (VIEWS_PER_TOY - FRONTAL)]])
    ]


def _write(folder: Path, index: int, toys: int, seed: int) -> None:
    rng = np.random.default_rng([seed, index])
    images, rows = [], []
    for _, description in zip(range(toys), descriptions(rng), strict=False):
        cameras = _cameras(rng)
        whole, without = visibility.pictures(build(description, rng), cameras)
        images.append((torch.cat([whole[:, None], without], 1) * 255).round().to(torch.uint8).numpy())
        angles = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
        rows += [{"description": asdict(description), "azimuth": a, "elevation": e} for a, e in angles]
    path = _path(folder, index)
    with replacing(path) as part:
        np.save(part, np.concatenate(images))
    write_safely(path.with_suffix(".json"), json.dumps(rows).encode())


def _path(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:05d}.npy"
