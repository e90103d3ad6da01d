"""Draw docs/images/methods/NAME.webp: two captions by every method with preset `fast`, each beside its DDIM sample.

python -m tools.method_pictures
"""

from __future__ import annotations

import torch

from scoredistill.evaluate.judge import Judge
from scoredistill.export.images import grid, webp
from scoredistill.methods.catalogue import METHODS
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.studies.cache import made_by
from scoredistill.studies.dsd_diversity import ddim
from scoredistill.studies.study import Bench
from tools.write_methods_doc import DOCS

CAPTIONS = ("a purple snowman", "an orange hamburger")
STEPS = 120
LARGER = 2  # times as large as the prior draws
GAP = 4  # pixels between two images


def draw() -> None:
    """One picture for each method: of each caption the DDIM sample and the method's image."""
    bench = Bench(ToyboxPrior.load(), Judge.load(), CAPTIONS, seeds=1, steps=STEPS)
    samples, folder = ddim(bench).pictures, DOCS / "images" / "methods"
    folder.mkdir(exist_ok=True)
    for name in METHODS:
        pairs = torch.stack([samples, made_by(bench, name, name).pictures], 1).flatten(0, 1)
        pairs = pairs.repeat_interleave(LARGER, 2).repeat_interleave(LARGER, 3)
        strip = grid(pairs.float() / 255, columns=len(pairs), gap=GAP)
        (folder / f"{name}.webp").write_bytes(webp(strip))
        print(name, flush=True)


if __name__ == "__main__":
    draw()
