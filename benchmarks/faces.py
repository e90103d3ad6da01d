"""Do the toys that have a face show it? Front views by the embedded priors, beside true renders of the same toys.

    python benchmarks/faces.py --each 20 --rings 8

Each caption names one toy of the seven kinds that have a face, as the language draws it. The prior of single views
draws "..., front view"; that of four draws a ring whose first camera sees the front and its third the back. The true
renders are from the first of these cameras. The same captions with "small" and "big" instead of their own size show
what distance does. The 3D results are the fronts and backs of the runs of a study (--study). The part meter counts
(weights/toybox-parts.md); intervals are Wilson's, 95 %. Writes benchmarks/results/faces.json, and a sheet of the
samples sorted by the meter's probability.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.prior import BATCH, drawn, face_share
from benchmarks.provenance import provenance
from scoredistill.camera import Cameras, orbit
from scoredistill.contracts import Prompt
from scoredistill.evaluate.metrics.parts import parts_of
from scoredistill.evaluate.part_meter import SEEN, THRESHOLD, PartMeter
from scoredistill.export.images import grid, write_png
from scoredistill.methods import ddim
from scoredistill.priors.load import load_prior
from scoredistill.recipes.kinds import name_of
from scoredistill.runs.folder import CONFIG, RunFolder
from scoredistill.studies.report import CACHE, SWEEP
from scoredistill.studies.scene_measures import Meter
from scoredistill.toybox import build, captions, dataset, visibility
from scoredistill.toybox.visibility import FACES

SEED = 60_000  # apart from every training seed
SIZE = 64
RING = 4
BACK = 4  # of the views of a run, of which the first is the front


@dataclass(frozen=True)
class Asked:
    """Toys, and one camera for each that sees its front."""

    described: list[captions.Description]
    cameras: list[Cameras]

    def sized(self, size: str) -> Asked:
        """The same toys in another size."""
        return replace(self, described=[replace(each, size=size) for each in self.described])

    def first(self, each: int) -> Asked:
        """The first `each` toys of every kind."""
        rows = [index for index in range(len(self.described)) if index // len(FACES) < each]
        return Asked([self.described[row] for row in rows], [self.cameras[row] for row in rows])


def ask(each: int) -> Asked:
    """`each` toys of every kind that has a face, the kinds in turn."""
    rng = np.random.default_rng(SEED)
    described, cameras = [], []
    for _ in range(each):
        for kind in FACES:
            while (toy := captions.sample(rng)).kind != kind or toy.composed:
                pass
            described.append(toy)
            cameras.append(_camera(rng))
    return Asked(described, cameras)


def _camera(rng: np.random.Generator) -> Cameras:
    """A random camera of the data that sees the front."""
    while True:
        camera = dataset.random_cameras(rng, 1, SIZE)
        if captions.view_words(float(camera.azimuth), float(camera.elevation)) == "front view":
            return camera


def true(asked: Asked) -> tuple[Float[Tensor, "N 3 64 64"], Float[Tensor, "N P"]]:
    """True renders, and the number of pixels of each of `visibility.PARTS` in them."""
    rng = np.random.default_rng(SEED + 1)
    found = [
        visibility.pictures(build(toy, rng), camera) for toy, camera in zip(asked.described, asked.cameras, strict=True)
    ]
    rgb, without = (torch.cat(each) for each in zip(*found, strict=True))
    return rgb, visibility.changed(rgb, without)


def singles(prior: Any, asked: Asked, scale: float, steps: int) -> Float[Tensor, "N 3 64 64"]:
    """One sample for each toy, its view prompted by words."""
    rng = np.random.default_rng(SEED)
    return drawn(prior, [captions.caption(toy, rng, "front view") for toy in asked.described], scale, steps)


def rings(prior: Any, asked: Asked, scale: float, steps: int) -> Float[Tensor, "N 4 3 64 64"]:
    """One ring of samples for each toy, the first view from its camera."""
    rng, noise = np.random.default_rng(SEED), torch.Generator().manual_seed(SEED)
    texts = [captions.caption(toy, rng) for toy in asked.described]
    pictures = []
    for first in range(0, len(texts), BATCH // RING):
        part = tuple(text for text in texts[first : first + BATCH // RING] for _ in range(RING))
        cameras = _rings(asked.cameras[first : first + BATCH // RING])
        conditions = prior.conditions(Prompt(part), cameras, len(part))
        x_T = torch.randn(len(part), 3, SIZE, SIZE, generator=noise)
        pictures.append(prior.decode(ddim.sample(prior, x_T, conditions, scale=scale, steps=steps)))
    return torch.cat(pictures).clamp(0, 1).unflatten(0, (-1, RING))


def stored(folder: Path, name: str, draw: Callable[[], Tensor]) -> Tensor:
    """The pictures in a file, or new ones, stored there as 8 bits."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"rgb": (255 * draw()).round().byte()}, path)
    return load_file(path)["rgb"].float() / 255


def _rings(firsts: list[Cameras]) -> Cameras:
    """Rings of cameras that begin with the given ones."""
    azimuth, elevation, radius, fov = (
        torch.cat([getattr(camera, name) for camera in firsts]).repeat_interleave(RING)
        for name in ("azimuth", "elevation", "radius", "fov")
    )
    around = torch.arange(len(azimuth)) % RING * (2 * math.pi / RING)
    azimuth = torch.remainder(azimuth + around + math.pi, 2 * math.pi) - math.pi
    return orbit(azimuth, elevation, radius, fov, SIZE)


def scenes(meter: PartMeter, study: Path) -> dict[str, Any]:
    """The share of faces in the front and the back views of a study's runs, by method."""
    measure, views = Meter(), defaultdict(list)
    for folder in sorted(path.parent for path in (study / SWEEP).glob(f"*/{CONFIG}")):
        recipe = RunFolder.open(folder).recipe
        if captions.subject(recipe.prompt.text)[0] in FACES:
            result = measure(folder, study / CACHE)
            views[name_of(recipe.method)] += [] if result is None else [result.views[[0, BACK]].float() / 255]
    found = {}
    for method, pairs in views.items():
        front, back = torch.stack(pairs).unbind(1)
        found[method] = {"front": face_share(meter.sees(front)), "back": face_share(meter.sees(back))}
    return found


def counted(meter: PartMeter, rgb: Float[Tensor, "N 3 64 64"], asked: Asked) -> dict[str, Any]:
    """The share of faces in all, by kind, and the shares of the other parts that the kinds have."""
    seen = meter.probabilities(rgb) > THRESHOLD
    kinds = [toy.kind for toy in asked.described]
    by_kind = {kind: face_share(_of(seen, kinds, (kind,), "face"))["share"] for kind in FACES}
    others = {
        part: face_share(_of(seen, kinds, [kind for kind in FACES if part in parts_of(kind)], part))
        for part in ("nose", "hat", "buttons")
    }
    return {"faces": face_share(seen[:, SEEN.index("face")]), "by kind": by_kind, "other parts": others}


def _of(seen: Bool[Tensor, "N P"], kinds: list[str], among: Sequence[str], part: str) -> Bool[Tensor, "M"]:
    return seen[[kind in among for kind in kinds]][:, SEEN.index(part)]


def sizes(pixels: Float[Tensor, "N P"], asked: Asked) -> dict[str, dict[str, float]]:
    """By kind, the median pixels of an eye and of the nose or beak in true renders, and the share with both eyes."""
    kinds = np.array([toy.kind for toy in asked.described])
    table = {}
    for kind in FACES:
        of_kind = pixels[torch.from_numpy(kinds == kind)]
        both = (of_kind[:, :2] >= visibility.PIXELS).all(1)
        table[kind] = {
            "eye": float(of_kind[:, :2].median()),
            "nose": float(of_kind[:, 2].median()),
            "both visible": float(both.float().mean()),
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=20, help="toys of every kind")
    parser.add_argument("--rings", type=int, default=8, help="of these toys, those drawn in rings, of every kind")
    parser.add_argument("--sized", type=int, default=6, help="of these toys, those drawn small and big, of every kind")
    parser.add_argument("--single", default="toybox", help="prior of single views: a name, or a file of weights")
    parser.add_argument("--multi", default="toybox-mv", help="prior of four views: a name, or a file of weights")
    parser.add_argument("--study", type=Path, help="folder of a study in 3D, as of sdi_against_sds")
    parser.add_argument("--samples", type=Path, default=Path("data/faces"), help="folder of the samples; drawn once")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--scale", type=float, default=4.0)
    parser.add_argument(
        "--sheet", type=Path, help="a PNG of the samples of single views, by falling probability of a face"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/faces.json"))
    flags = parser.parse_args()
    asked = ask(flags.each)
    single, ring = (load_prior(name, "cpu") for name in (flags.single, flags.multi))
    draw = {"single": lambda: singles(single, asked, flags.scale, flags.steps)}
    draw["rings"] = lambda: rings(ring, asked.first(flags.rings), flags.scale, flags.steps)
    for size in ("small", "big"):
        some = asked.first(flags.sized).sized(size)
        draw[size] = partial(singles, single, some, flags.scale, flags.steps)
    drawn = {name: stored(flags.samples, name, each) for name, each in draw.items()}
    meter, (rgb, pixels) = PartMeter.load(), true(asked)
    record: dict[str, Any] = {
        "scale": flags.scale,
        "steps": flags.steps,
        "pixels in true renders": sizes(pixels, asked),
    }
    record["true renders"] = counted(meter, rgb, asked)
    record["toybox"] = counted(meter, drawn["single"], asked)
    for size in ("small", "big"):
        some = asked.first(flags.sized).sized(size)
        record[f"true renders, {size}"] = counted(meter, true(some)[0], some)
        record[f"toybox, {size}"] = counted(meter, drawn[size], some)
    some, views = asked.first(flags.rings), drawn["rings"]
    record["toybox-mv"] = counted(meter, views[:, 0], some)
    record["toybox-mv"]["faces, opposite view"] = face_share(meter.sees(views[:, 2]))
    if flags.study:
        record["3D results"] = scenes(meter, flags.study)
    flags.out.write_text(json.dumps(record | provenance(), indent=2) + "\n")
    if flags.sheet:
        order = meter.probabilities(drawn["single"])[:, 0].argsort(descending=True)
        write_png(grid(drawn["single"][order], columns=14), flags.sheet)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
