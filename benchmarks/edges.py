"""Are SDI's toys softer than SDS's because their edges are translucent? Sharpness as rendered, and of solid fields.

    python benchmarks/edges.py runs/study-sdi_against_sds-0

The runs of a study are rendered from its own views, with their density as it is and with twenty times as much, which
leaves no ray that a surface stops in part. Differences are over pairs of equal caption and seed, with 95 % intervals.
Writes benchmarks/results/edges.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from scoredistill.evaluate.intervals import pooled
from scoredistill.evaluate.judge import Judge
from scoredistill.evaluate.metrics.sharpness import sharpness
from scoredistill.runs.evaluation.protocol import PROTOCOLS, measured_views
from scoredistill.runs.finish import open_3d_scene
from scoredistill.studies.report import SWEEP

SOLID = 20.0  # times the density
METHODS = ("sdi", "sds")


@torch.no_grad()
def measured(judge: Judge, folder: Path, factor: float) -> tuple[float, float]:
    """Sharpness, and similarity to the caption, of a run whose density is multiplied by a factor."""
    recipe, scene = open_3d_scene(folder)
    evaluate = scene.field.evaluate

    def denser(points: Tensor) -> tuple[Tensor, Tensor]:
        density, albedo = evaluate(points)
        return factor * density, albedo

    scene.field.evaluate = denser
    rgb = measured_views(recipe, scene, PROTOCOLS["quick"]).rgb.clamp(0, 1)
    similarity = judge.similarity(rgb, [recipe.prompt.text] * len(rgb))
    return float(sharpness(rgb).mean()), float(similarity.mean())


def difference(values: Tensor) -> dict[str, Any]:
    """SDI minus SDS over pairs [N]: mean and half of the 95 % interval by Student's t."""
    found = pooled([values.tolist()])
    assert found is not None  # there are pairs
    return {"mean": found.mean, "half": found.half, "pairs": found.n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of the study sdi_against_sds")
    parser.add_argument("--seeds", type=int, default=2, help="of each caption")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/edges.json"))
    flags = parser.parse_args()
    judge, record = Judge.load(), dict[str, Any]()
    names = [path.name for seed in range(flags.seeds) for path in sorted((flags.study / SWEEP).glob(f"*-sdi-{seed}"))]
    for words, factor in (("as rendered", 1.0), ("solid", SOLID)):
        found = {
            method: torch.tensor(
                [measured(judge, flags.study / SWEEP / name.replace("-sdi-", f"-{method}-"), factor) for name in names]
            )
            for method in METHODS
        }
        gaps = found["sdi"] - found["sds"]
        record[words] = {
            "sharpness": {method: float(each[:, 0].mean()) for method, each in found.items()},
            "sharpness of sdi minus sds": difference(gaps[:, 0]),
            "similarity of sdi minus sds": difference(gaps[:, 1]),
        }
        print(words, record[words], flush=True)
    flags.out.write_text(json.dumps(record | provenance(), indent=2) + "\n")


if __name__ == "__main__":
    main()
