"""From one picture to 3D: toys that no prior has seen, each from a single true render of it.

    python benchmarks/photos.py --methods sdi dsd --processes 2

Every run is the command a user would type, with a picture that Toybox's renderer made. The judge reads seven views that
the picture does not show, 45 to 315 degrees round from it; beside them stands the signal-to-noise ratio to true renders
from there, and what the prior itself draws of them by DDIM. `backs` asks how a thing goes on where the picture ends: of
each toy's runs, one for each seed, how far apart are the judge's features of the views from behind, beside those of the
view that the picture shows? Writes tables, one JSON file with every row, and contact sheets, a row a toy, its picture
first: then the truth, and each method's first seed, from before, from the left, from behind and from the right; and in
another one each seed of the last method, from before and from behind.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.provenance import provenance
from benchmarks.runs import complete, metrics
from scoredistill.camera import FOV_DEG, ORBIT_RADIUS, Cameras, orbit
from scoredistill.contracts import Photo, Prompt
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.metrics import diversity
from scoredistill.evaluate.report import expected, markdown
from scoredistill.export.images import grid, write_png
from scoredistill.methods import ddim
from scoredistill.priors.toybox import ToyboxPosePrior
from scoredistill.runs.finish import open_3d_scene
from scoredistill.toybox import BACKGROUND, build, captions, render
from scoredistill.toybox.toy import Toy

SEED = 5200  # of the toys, apart from every training seed
AZIMUTH_DEG, ELEVATION_DEG = 25.0, 15.0  # of the pictures: from before, a little aside
AROUND_DEG = tuple(45.0 * turn for turn in range(8))  # of the judged views, from the picture's own on
SIZE, SHOWN = 64, (0, 2, 4, 6)
SCALE, STEPS = 2.0, 30  # of DDIM
PRIOR = "toybox-pose"


def generate(picture: Path, method: str, seed: int) -> list[str]:
    """The words of the command."""
    camera = {"azimuth-deg": AZIMUTH_DEG, "elevation-deg": ELEVATION_DEG}
    flags = [word for name, value in camera.items() for word in (f"--prompt.picture.{name}", str(value))]
    return ["generate", "--image", str(picture), "--method", method, "--seed", str(seed), "--prior", PRIOR, *flags]


def unseen(count: int) -> list[tuple[str, Toy]]:
    """Plain captions of `count` different kinds in random colors, with a toy of each."""
    rng = np.random.default_rng(SEED)
    kinds = rng.permutation(list(captions.KINDS))[:count]
    described = [captions.Description(str(kind), str(rng.choice(list(captions.COLORS)))) for kind in kinds]
    return [(captions.phrase(each), build(each, rng)) for each in described]


def around(size: int) -> Cameras:
    """Eight views all round, of which the first is the picture's."""
    azimuth = (torch.tensor(AROUND_DEG) + AZIMUTH_DEG).deg2rad()
    same = torch.ones(len(azimuth))
    radius, fov = statistics.fmean(ORBIT_RADIUS), math.radians(FOV_DEG)
    return orbit(azimuth, math.radians(ELEVATION_DEG) * same, radius * same, fov * same, size)


def photographed(toy: Toy, path: Path) -> Photo:
    """A picture of the toy, also as a file with transparency."""
    camera = around(4 * SIZE)[:1]
    frame = render(toy, camera, torch.zeros(3))
    straight = frame.rgb[0] / frame.opacity[0].clamp(min=1e-3)
    write_png(torch.cat([straight.clamp(0, 1), frame.opacity[0].clamp(0, 1)]), path)
    return Photo(frame.rgb[0], frame.opacity[0], camera)


def true(toy: Toy) -> Tensor:
    """What there is to see, rgb [8 3 64 64]."""
    return render(toy, around(SIZE), torch.tensor(BACKGROUND)).rgb.clamp(0, 1)


def drawn(prior: ToyboxPosePrior, photo: Photo) -> Tensor:
    """What the prior makes of the picture, each view for itself, rgb [8 3 64 64]."""
    cameras = around(SIZE)
    conditions = prior.conditions(Prompt("", photo=photo), cameras, len(cameras))
    x_T = torch.randn(len(cameras), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(SEED))
    return prior.decode(ddim.sample(prior, x_T, conditions, scale=SCALE, steps=STEPS)).clamp(0, 1)


@torch.no_grad()
def distilled(folder: Path) -> Tensor:
    """Views of a finished run, rgb [8 3 64 64]."""
    return open_3d_scene(folder)[1].render(around(SIZE), torch.tensor(BACKGROUND)).rgb.clamp(0, 1)


def recognized(judge: Judge, rgb: Tensor, prompt: str) -> dict[str, float]:
    """Shares of the views that the picture does not show in which the judge sees the right kind and color."""
    seen, (kind, color) = judge.recognize(rgb[1:]), expected(prompt)
    return {
        "kind": statistics.fmean(one == kind for one in seen.kinds),
        "color": statistics.fmean(one == color for one in seen.colors),
    }


def judged(judge: Judge, rgb: Tensor, truth: Tensor, prompt: str) -> dict[str, float]:
    """The same, and how near these views come to the truth."""
    error = float((rgb[1:] - truth[1:]).square().mean())
    likeness = (judge.image_features(rgb[1:]) * judge.image_features(truth[1:])).sum(1).mean()
    return recognized(judge, rgb, prompt) | {"psnr": -10 * math.log10(error), "likeness": float(likeness)}


def line(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the rows."""
    numbers = [key for key, value in rows[0].items() if isinstance(value, float)]
    return {"what": name, "rows": len(rows)} | {key: statistics.fmean(row[key] for row in rows) for key in numbers}


def backs(judge: Judge, seeds: list[Tensor]) -> dict[str, float]:
    """How far apart several results of one picture are, seen from its side and from behind: 1 - mean cosine."""

    def apart(view: int) -> float:
        return diversity(judge.image_features(torch.stack([rgb[view] for rgb in seeds])))

    return {"apart from before": apart(0), "apart from behind": statistics.fmean(map(apart, (3, 4, 5)))}


def draw(flags: argparse.Namespace, truth: dict[str, Tensor], views: dict[tuple[str, str, int], Tensor]) -> None:
    """The contact sheets."""
    first, last = flags.seeds[0], flags.methods[-1]
    rounds = []
    for prompt, real in truth.items():
        made = (views[method, prompt, first] for method in flags.methods)
        rounds.append([real[:1], *(each[list(SHOWN)] for each in (real, *made))])
    write_sheet(rounds, flags.picture)
    if len(flags.seeds) > 1:
        sides = [
            [real[:1], *(views[last, prompt, seed][[0, 4]] for seed in flags.seeds)] for prompt, real in truth.items()
        ]
        write_sheet(sides, flags.picture.with_stem(f"{flags.picture.stem}_seeds"))


def write_sheet(rows: list[list[Tensor]], path: Path) -> None:
    """One row a toy: all its views, side by side."""
    views = [torch.cat(row) for row in rows]
    write_png(grid(torch.cat(views), columns=len(views[0])), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="toys")
    parser.add_argument("--first", type=int, help="only so many of them")
    parser.add_argument("--methods", nargs="*", default=["sdi", "dsd"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--processes", type=int, default=1, help="runs at a time; the cores are shared among them")
    parser.add_argument("--root", type=Path, default=Path("runs/photos"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/photos.png"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/photos.json"))
    flags = parser.parse_args()
    flags.root.mkdir(parents=True, exist_ok=True)
    toys, judge, prior = unseen(flags.count)[: flags.first], Judge.load(), ToyboxPosePrior.load()
    files = {prompt: flags.root / f"{prompt}.png" for prompt, _ in toys}
    photos = {prompt: photographed(toy, files[prompt]) for prompt, toy in toys}
    truth = {prompt: true(toy) for prompt, toy in toys}
    rows = {"DDIM": [judged(judge, drawn(prior, photos[prompt]), truth[prompt], prompt) for prompt in files]}
    folders = {
        (method, prompt, seed): flags.root / f"{method}-{prompt.replace(' ', '-')}-{seed}"
        for seed, method, prompt in product(flags.seeds, flags.methods, files)
    }
    words = {folder: generate(files[prompt], method, seed) for (method, prompt, seed), folder in folders.items()}
    complete(words, flags.processes)
    views = {task: distilled(folder) for task, folder in folders.items()}
    for method in flags.methods:
        rows[method] = [
            {"prompt": prompt, "seed": seed, "wall_seconds": metrics(folder)["wall_seconds"]}
            | judged(judge, views[method, prompt, seed], truth[prompt], prompt)
            for (by, prompt, seed), folder in folders.items()
            if by == method
        ]
    rows["true renders"] = [recognized(judge, truth[prompt], prompt) for prompt in files]
    several = {
        method: [backs(judge, [views[method, prompt, seed] for seed in flags.seeds]) for prompt in files]
        for method in flags.methods
        if len(flags.seeds) > 1
    }
    tables = [[line(name, found) for name, found in part.items()] for part in (rows, several)]
    record = {"captions": list(files), "seeds": flags.seeds, "tables": tables, "rows": rows, "seeds of one": several}
    flags.out.write_text(json.dumps(record | provenance(), indent=2) + "\n")
    flags.out.with_suffix(".md").write_text("\n".join(map(markdown, filter(None, tables))))
    draw(flags, truth, views)
    print(*map(markdown, tables), sep="\n")


if __name__ == "__main__":
    main()
