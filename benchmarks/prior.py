r"""Does the embedded prior draw what a caption says? Random captions, sampled by DDIM, read by the independent judge.

    python benchmarks/prior.py
    python benchmarks/prior.py --prior toybox-mv --out benchmarks/results/rings.json --picture docs/images/rings.png
    python benchmarks/prior.py --prior toybox-sd --scales 7.5 --out benchmarks/results/latent.json --picture \
        docs/images/latent_samples.png

The part meter counts the faces in front views of the seven kinds that have one, with 95 % intervals (Wilson 1927).
Judge and meter on true renders of the same captions give the ceiling. Captions whose color is left to nature are judged
by the natural color; pairs and counts by their first toy. A prior of several views draws a ring of them for each
caption, asked for by their cameras, and each view is judged.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from scoredistill.contracts import Prompt
from scoredistill.evaluate.intervals import share_interval
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.part_meter import PartMeter
from scoredistill.evaluate.report import expected
from scoredistill.export.images import grid, write_png
from scoredistill.methods import ddim
from scoredistill.priors.load import load_prior
from scoredistill.priors.toybox import SIZE, ToyboxPrior
from scoredistill.toybox import BACKGROUND, build, captions, dataset, render
from scoredistill.toybox.visibility import FACES

SEED = 20_000  # apart from every training seed
BATCH = 50


def ask(count: int) -> tuple[list[captions.Description], list[str], list[str]]:
    """Random descriptions, their captions and the view words each ends in."""
    rng = np.random.default_rng(SEED)
    described = [captions.sample(rng) for _ in range(count)]
    views = [captions.VIEWS[int(rng.integers(len(captions.VIEWS)))] for _ in range(count)]
    return described, [captions.caption(d, rng, view) for d, view in zip(described, views, strict=True)], views


def drawn(prior: Any, texts: list[str], scale: float, steps: int) -> Tensor:
    """One DDIM sample for each caption, rgb [N 3 H W]."""
    rng = torch.Generator().manual_seed(SEED)
    pictures, shape = [], prior.encode(torch.zeros(1, 3, SIZE, SIZE)).shape[1:]
    for first in range(0, len(texts), BATCH):
        part = texts[first : first + BATCH]
        conditions = prior.conditions(Prompt(tuple(part)), None, len(part))
        x_T = torch.randn(len(part), *shape, generator=rng)
        pictures.append(prior.decode(ddim.sample(prior, x_T, conditions, scale=scale, steps=steps)))
    return torch.cat(pictures).float().clamp(0, 1)


def rings(
    prior: ToyboxPrior, described: list[captions.Description], texts: list[str], scale: float, steps: int
) -> tuple[Tensor, list[captions.Description], list[str]]:
    """For each caption without view words one ring of views, with the description and the view words of every view."""
    rng, noise = np.random.default_rng(SEED), torch.Generator().manual_seed(SEED)
    pictures, words, each = [], [], prior.views
    for first in range(0, len(texts), BATCH // each):
        part = tuple(text for text in texts[first : first + BATCH // each] for _ in range(each))
        cameras = dataset.random_cameras(rng, len(part), SIZE, ring=each)
        x_T = torch.randn(len(part), 3, SIZE, SIZE, generator=noise)
        x = ddim.sample(prior, x_T, prior.conditions(Prompt(part), cameras, len(part)), scale=scale, steps=steps)
        pictures.append(prior.decode(x))
        angles = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), strict=True)
        words += [captions.view_words(*pair) for pair in angles]
    return torch.cat(pictures).clamp(0, 1), [one for one in described for _ in range(each)], words


def true(described: list[captions.Description], views: list[str]) -> Tensor:
    """One true render for each description, from a random camera that sees the view named."""
    rng = np.random.default_rng(SEED + 1)
    pictures = []
    for description, view in zip(described, views, strict=True):
        toy = build(description, rng)
        while True:
            cameras = dataset.random_cameras(rng, 1, SIZE)
            if captions.view_words(float(cameras.azimuth), float(cameras.elevation)) == view:
                break
        pictures.append(render(toy, cameras, torch.tensor(BACKGROUND)).rgb)
    return torch.cat(pictures)


def judged(
    judge: Judge, meter: PartMeter, rgb: Tensor, described: list[captions.Description], views: list[str]
) -> dict[str, Any]:
    """Shares of pictures in which the judge sees the right kind, main color and view, and of faces in front views."""
    seen = judge.recognize(rgb)
    asked = [expected(captions.phrase(d)) for d in described]
    single = np.array([not d.composed for d in described])
    kind = np.array([a == b for a, (b, _) in zip(seen.kinds, asked, strict=True)])
    color = np.array([a == b for a, (_, b) in zip(seen.colors, asked, strict=True)])
    view = np.array([a == b for a, b in zip(seen.views, views, strict=True)])
    return {
        "kind": float(kind.mean()),
        "color": float(color.mean()),
        "view": float(view.mean()),
        "kind, single toys": float(kind[single].mean()),
        "color, single toys": float(color[single].mean()),
        "faces, front views of single toys": face_share(meter.sees(rgb)[faces_belong(described, views)]),
    }


def faces_belong(described: list[captions.Description], views: list[str]) -> Bool[Tensor, "N"]:
    """Which pictures are front views of one toy of a kind that has a face."""
    asked = zip(described, views, strict=True)
    return torch.tensor([toy.kind in FACES and not toy.composed and view == "front view" for toy, view in asked])


def face_share(seen: Bool[Tensor, "N"]) -> dict[str, Any]:
    """The share of pictures in which a face is seen, its number, and its 95 % interval."""
    count, total = int(seen.sum()), len(seen)
    if not total:
        return {"pictures": 0}
    return {"share": count / total, "interval": list(share_interval(count, total)), "pictures": total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--scales", type=float, nargs="+", default=[2.5, 4.0])
    parser.add_argument("--prior", default="toybox", help="toybox, toybox-mv, toybox-sd, or other weights")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/prior_samples.png"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/prior.json"))
    flags = parser.parse_args()
    prior: Any = load_prior(flags.prior, "cpu")
    judge, meter = Judge.load(), PartMeter.load()
    described, texts, views = ask(flags.count)
    if prior.views > 1:
        rng = np.random.default_rng(SEED)
        texts = [captions.caption(toy, rng) for toy in described]
    record: dict[str, object] = {"prior": flags.prior, "captions": flags.count, "steps": flags.steps}
    record["true renders"] = judged(judge, meter, true(described, views), described, views)
    for scale in flags.scales:
        toys, asked = described, views
        if prior.views > 1:
            rgb, toys, asked = rings(prior, described, texts, scale, flags.steps)
        else:
            rgb = drawn(prior, texts, scale, flags.steps)
        record[f"scale {scale:g}"] = judged(judge, meter, rgb, toys, asked)
        print(f"scale {scale:g}", record[f"scale {scale:g}"])
        write_png(grid(rgb[:72], columns=12), flags.picture)  # of the last scale in the end
    flags.out.write_text(json.dumps(record | {"first captions": texts[:72]} | provenance(), indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
