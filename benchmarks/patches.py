"""The validation of the patch distance: true toys, degraded and without their small parts, against others of the kind.

    python benchmarks/patches.py --captions 12

Each caption gives one toy, seen by eight cameras around it. It is compared with eight other toys of the same caption
from the same cameras, first as it is, which is the floor, and then degraded. Writes results/metrics/patches.json and
patches.md: means over captions, and the share of captions in which a degradation raises the distance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.metrics import RESULTS, blur, noisy, posterized, saturated
from benchmarks.provenance import provenance
from scoredistill.camera import FOV_DEG, Cameras, ring
from scoredistill.evaluate.geometry import RADIUS, toys
from scoredistill.evaluate.metrics.patches import SIZE, distance, patches
from scoredistill.evaluate.report import markdown
from scoredistill.runs.renders import ELEVATION_DEG
from scoredistill.studies.study import CAPTIONS
from scoredistill.toybox import BACKGROUND, Toy, render

OTHERS, VIEWS = 8, 8
SMALL = 0.35  # of the largest radius of a part: smaller parts are details
INTACT, WITHOUT = "another toy of the caption", "the same without its small parts"


def seen(toy: Toy, cameras: Cameras) -> Tensor:
    return render(toy, cameras, torch.tensor(BACKGROUND)).rgb.clamp(0, 1)


def without_details(toy: Toy) -> Toy:
    """The toy without its small parts."""
    largest = max(part.ball[1] for part in toy.parts)
    return Toy(tuple(part for part in toy.parts if part.ball[1] > SMALL * largest))


def degraded(toy: Toy, cameras: Cameras) -> Iterator[tuple[str, Tensor]]:
    """The views of a toy as they are and degraded, by the name of the degradation."""
    intact = seen(toy, cameras)
    yield INTACT, intact
    bare = without_details(toy)
    if len(bare.parts) < len(toy.parts):
        yield WITHOUT, seen(bare, cameras)
    yield from ((f"blur of {std:g} pixels", blur(intact, std)) for std in (0.5, 1, 1.5, 2))
    yield from ((f"noise of {std:g}", noisy(intact, std)) for std in (0.01, 0.02, 0.05))
    yield from ((f"{factor:g} of the saturation", saturated(intact, factor)) for factor in (0.5, 0.8, 1.25, 1.5))
    yield from ((f"{levels:g} levels of each channel", posterized(intact, levels)) for levels in (16, 5, 3))
    yield "brighter by 0.03", intact + 0.03


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=12)
    parser.add_argument("--out", type=Path, default=RESULTS)
    flags = parser.parse_args()
    cameras = ring(VIEWS, SIZE, elevation_deg=ELEVATION_DEG, radius=RADIUS, fov_deg=FOV_DEG)
    found = defaultdict[str, list[tuple[float, bool]]](list)
    for caption in CAPTIONS[: flags.captions]:
        *others, chosen = toys(caption, OTHERS + 1)
        true = patches(torch.cat([seen(toy, cameras) for toy in others]))
        floor = distance(patches(seen(chosen, cameras)), true)
        for name, rgb in degraded(chosen, cameras):
            value = distance(patches(rgb), true)
            found[name].append((value, value > floor))
    rows = []
    for name, values in found.items():
        distances, raised = (torch.tensor(each, dtype=torch.float64) for each in zip(*values, strict=True))
        row = {"views": name, "patch distance": float(distances.mean()), "captions": len(values)}
        rows.append(row | {"raised in": None if name == INTACT else float(raised.mean())})
    facts = provenance()
    (flags.out / "patches.json").write_text(json.dumps({"rows": rows, **facts}, indent=2) + "\n")
    words = (
        f"One toy of each caption, {VIEWS} views, compared with {OTHERS} others; commit {facts['commit']}, "
        f"`{facts['command']}`.\n\n"
    )
    (flags.out / "patches.md").write_text(f"# The patch distance of degraded true renders\n\n{words}{markdown(rows)}")
    print(markdown(rows))


if __name__ == "__main__":
    main()
