"""What a long study has finished, kept on the disk: images with what they cost, made once and found again.

N images of a bench   x in the prior's space, rounded to the 8 bits of a display
"""

from __future__ import annotations

import hashlib
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from scoredistill import checkpoint
from scoredistill.run import Run, resolve
from scoredistill.studies.distill import distill, fast
from scoredistill.studies.looks import pixels
from scoredistill.studies.report import slug
from scoredistill.studies.study import Bench

X = Float[Tensor, "N 3 64 64"]

RATE = 0.01  # of Adam on pixels: methods that follow an ODE overshoot where steps times rate far exceed the range


@dataclass(frozen=True)
class Made:
    """The images of a bench as pictures of 8 bits, and what they cost."""

    pictures: UInt8[Tensor, "N 3 64 64"]
    calls: int  # of the denoiser, a learner's own included
    rows: int  # images that it saw, over all calls
    seconds: float

    def x(self, bench: Bench) -> X:
        """The images in the prior's space."""
        return bench.prior.encode(self.pictures.to(bench.prior.device) / 255)


def made_by(bench: Bench, name: str, method: str, **settings: Any) -> Made:
    """What the method's fast preset makes of the bench, but for the settings given; kept under `name`."""
    run = resolve(Run(bench.captions[0], method, scene="image", settings=settings))

    def make() -> tuple[X, Any]:
        built = fast(bench, method, **settings)
        telling = replace(bench, told=lambda what: bench.told(f"{name}, {what}"))
        return distill(telling, built, RATE), getattr(built, "learner", None)

    return kept(bench, name, {"method": method, "rate": RATE, **run.settings}, make)


def kept(bench: Bench, name: str, said: Mapping[str, Any], make: Callable[[], tuple[X, Any]]) -> Made:
    """What `make` returns, or returned when it was asked the same under this `name` of the folder `bench.kept`.

    `make` gives images, and what beside the prior counts calls (or None). The same is: the bench, the weights of its
    prior, and what was `said`; anything else is made anew, and replaces what was kept.
    """
    asked = {"said": dict(said), "texts": list(bench.texts), "steps": bench.steps, "seed": bench.seed}
    asked |= {"weights": fingerprint(bench.prior.net), "precision": str(bench.prior.dtype)}
    folder = None if bench.kept is None else bench.kept / slug(name)
    found = None if folder is None else checkpoint.read(folder)
    if found is not None and found["asked"] == asked:
        return Made(**found["made"])
    calls, rows, begin = bench.prior.calls, bench.prior.rows, clock.perf_counter()
    x, beside = make()
    made = Made(
        (255 * pixels(bench, x)).round().to(torch.uint8),
        bench.prior.calls - calls + getattr(beside, "calls", 0),
        bench.prior.rows - rows + getattr(beside, "rows", 0),
        clock.perf_counter() - begin,
    )
    if folder is not None:
        checkpoint.write(folder, {"index": 0, "asked": asked, "made": vars(made)})
    return made


def fingerprint(net: nn.Module) -> str:
    """The SHA-256 of all weights."""
    digest = hashlib.sha256()
    for weight in net.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
