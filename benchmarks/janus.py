"""How often is a toy's front seen from behind? Text to 3D on the prior of single views and on that of four at once.

    python benchmarks/janus.py --processes 2

The held-out captions of toys with a front are distilled with each prior at each seed. Which way a toy faces in a
picture is estimated by a reader: a small network that learns the azimuth from true renders of toys of these captions
(blurred, shifted, recolored, so that it reads distilled scenes too), and is itself tested on true renders of toys that
it never saw. No prior, method or scene knows it. By least squares it learns the mean of (cos, sin) of the azimuth,
given the picture: where its cosine is positive the picture shows rather the front than the back, and above 1/2 surely a
front. A run is a Janus run if most of its views from behind show rather the front. Writes
benchmarks/results/janus.json and janus.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.runs import complete
from benchmarks.text_to_3d import folder_of, generate
from scoredistill.camera import Cameras
from scoredistill.evaluate.judge_network import ImageTower
from scoredistill.evaluate.report import markdown
from scoredistill.runs.finish import open_3d_scene
from scoredistill.runs.renders import render_views
from scoredistill.sweep.prompt_sets import prompt_set
from scoredistill.toybox import BACKGROUND, build, captions, dataset, render

SEED = 4100  # of the toys that the reader sees
EACH = 8  # views of a toy
BATCH, STEPS, RATE = 64, 1500, 1e-3
BEHIND_DEG = (150.0, 165.0, 180.0, 195.0, 210.0)
BEFORE_DEG = (-30.0, -15.0, 0.0, 15.0, 30.0)
ELEVATIONS_DEG = (0.0, 15.0, 30.0)
NEAR = math.cos(math.radians(30))  # least cosine of azimuths that count as before, and of their opposites as behind


def toys(count: int, rng: np.random.Generator) -> Iterator[tuple[Cameras, Tensor]]:
    """Random toys of the captions in turn: random cameras, true renders [EACH 3 64 64]."""
    for caption in itertools.islice(itertools.cycle(prompts()), count):
        cameras = dataset.random_cameras(rng, EACH, 64)
        toy = build(captions.Description(*captions.subject(caption)), rng)
        yield cameras, render(toy, cameras, torch.tensor(BACKGROUND)).rgb


def truth(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Renders [N 3 64 64], and azimuths as unit vectors [N 2]."""
    cameras, rgb = zip(*toys(count, np.random.default_rng(seed)), strict=True)
    azimuth = torch.cat([each.azimuth for each in cameras])
    return torch.cat(rgb), torch.stack([azimuth.cos(), azimuth.sin()], 1)


def spoiled(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures blurred, shifted, recolored and noisy, each batch to a degree of its own: distilled scenes are so."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng)

    size = int(64 * (0.35 + 0.65 * float(uniform(1))))
    rgb = F.interpolate(F.interpolate(rgb, (size, size), mode="bilinear", antialias=True), (64, 64), mode="bicubic")
    rgb = torch.roll(rgb, [int(9 * part) - 4 for part in uniform(2)], (2, 3))
    gain, offset = 0.7 + 0.6 * uniform(len(rgb), 3, 1, 1), 0.2 * uniform(len(rgb), 3, 1, 1) - 0.1
    return (rgb * gain + offset + 0.06 * float(uniform(1)) * torch.randn(rgb.shape, generator=rng)).clamp(0, 1)


class Reader(nn.Module):
    """The mean (cos, sin) of a picture's azimuth, given the picture; its length is 1 where the azimuth is certain."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.head = ImageTower((32, 64, 128, 256), 64), nn.Linear(64, 2)

    def forward(self, rgb: Tensor) -> Tensor:
        return self.head(8 * self.tower(rgb))  # of features of length one


def trained(count: int) -> Reader:
    """A reader by least squares."""
    torch.manual_seed(SEED)
    rgb, azimuth = truth(count, SEED)
    reader = Reader().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (not in torch's stubs)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=RATE, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    rng = torch.Generator().manual_seed(SEED)
    for step in range(STEPS):
        chosen = torch.randint(len(rgb), (BATCH,), generator=rng)
        read = reader(spoiled(rgb[chosen], rng))
        loss = (read - azimuth[chosen]).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
        if step % 100 == 0:
            print(f"reader: step {step}, loss {float(loss.detach()):.3f}", flush=True)
    return reader.eval()


def reader_of(path: Path, count: int) -> Reader:
    """The reader in a file, or a new one, stored there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = trained(count).state_dict()
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    reader = Reader()
    reader.load_state_dict(load_file(path))
    return reader.eval()


@torch.no_grad()
def read(reader: Reader, rgb: Tensor) -> Tensor:
    """The mean cosine of the azimuth of pictures [N 3 H W]."""
    return reader(F.interpolate(rgb, (64, 64), mode="bilinear", antialias=True))[:, 0]


def shares(before: Tensor, behind: Tensor) -> dict[str, float]:
    """What the reader's cosines of views from before and from behind say of them."""
    return {
        "from before, rather front": float((before > 0).float().mean()),
        "from behind, rather front": float((behind > 0).float().mean()),
        "from behind, surely front": float((behind > 0.5).float().mean()),
    }


def tested(reader: Reader, count: int) -> dict[str, float]:
    """What true views of unseen toys are read as."""
    rgb, azimuth = truth(count, SEED + 1)
    cosines = read(reader, rgb)
    return shares(cosines[azimuth[:, 0] > NEAR], cosines[azimuth[:, 0] < -NEAR])


def prompts() -> list[str]:
    """The held-out captions of toys that have a front."""
    return [caption for caption in prompt_set("toybox20") if captions.subject(caption)[0] in captions.CANONICAL_FRONT]


def seen(reader: Reader, folder: Path) -> dict[str, float]:
    """What a finished run's views are read as."""
    recipe, scene = open_3d_scene(folder)

    def views(azimuths: tuple[float, ...]) -> Tensor:
        angles = list(itertools.product(azimuths, ELEVATIONS_DEG))
        rgb = render_views(
            recipe, scene, [azimuth for azimuth, _ in angles], [elevation for _, elevation in angles], 64
        ).rgb
        return read(reader, rgb.clamp(0, 1))

    return shares(views(BEFORE_DEG), views(BEHIND_DEG))


def line(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over runs, and how many are Janus runs."""
    means = {key: statistics.fmean(row[key] for row in rows) for key in rows[0] if key.startswith("from")}
    janus = sum(row["from behind, rather front"] > 0.5 for row in rows)
    return {"what": name, "runs": len(rows), **means, "Janus runs": janus}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--priors", nargs="+", default=["toybox", "toybox-mv"])
    parser.add_argument("--method", default="sdi")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--toys", type=int, default=600, help="that the reader learns from, eight views of each")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time; the cores are shared among them")
    parser.add_argument("--add", action="store_true", help="to the runs of other priors in the JSON file")
    parser.add_argument("--root", type=Path, default=Path("runs/janus"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/janus.json"))
    flags = parser.parse_args()
    reader = reader_of(flags.root / "reader.safetensors", flags.toys)
    found: dict[str, list[dict[str, Any]]] = json.loads(flags.out.read_text())["rows"] if flags.add else {}
    for prior in flags.priors:
        root = flags.root / prior
        root.mkdir(exist_ok=True)
        asked: list[tuple[str, int]] = list(itertools.product(prompts(), flags.seeds))
        folders = [folder_of(root, flags.method, *each) for each in asked]
        runs = {folder: generate(flags.method, *each, prior) for folder, each in zip(folders, asked, strict=True)}
        complete(runs, flags.processes)
        found[prior] = [
            {"prompt": prompt, "seed": seed, **seen(reader, folder)}
            for folder, (prompt, seed) in zip(folders, asked, strict=True)
        ]
    table = [
        {"what": "true renders of 200 unseen toys", "runs": "", **tested(reader, 200), "Janus runs": ""},
        *(line(f"{flags.method} on {prior}", rows) for prior, rows in found.items()),
    ]
    flags.out.write_text(json.dumps({"table": table, "rows": found} | provenance(), indent=2) + "\n")
    flags.out.with_suffix(".md").write_text(markdown(table) + "\n")
    print(markdown(table))


if __name__ == "__main__":
    main()
