"""A cache on the disk for long studies: images with their cost, computed once.

N images of a bench, H W pixels, rounded to the 8 bits of a display
"""

from __future__ import annotations

import contextlib
import hashlib
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from scoredistill.config import to_plain
from scoredistill.runs import checkpoint
from scoredistill.scenes.image import ImageConfig
from scoredistill.studies.distill import distill
from scoredistill.studies.images import pixels
from scoredistill.studies.report import slug
from scoredistill.studies.study import Bench, X

Result = TypeVar("Result")

RATE = 0.01  # of Adam on pixels: methods that follow an ODE overshoot where steps times rate far exceed the range


@dataclass(frozen=True)
class Made:
    """The images of a bench as pictures of 8 bits, and their cost."""

    pictures: UInt8[Tensor, "N 3 H W"]
    calls: int  # of the denoiser, a learner's own included
    rows: int  # images that it saw, over all calls
    seconds: float

    @property
    def rgb(self) -> Float[Tensor, "N 3 H W"]:
        """The images in [0, 1]."""
        return self.pictures.float() / 255


def made_by(bench: Bench, name: str, method: str, **settings: Any) -> Made:
    """The images of a method with its tuned settings, but for those given; cached under `name`."""
    config, image = bench.terms.tuned(method, **settings), bench.terms.image(method)

    def make() -> tuple[X, Any]:
        built = config.prepare(bench.prior, bench.seed)
        named_progress = replace(bench, progress=lambda what: bench.progress(f"{name}, {what}"))
        return distill(named_progress, built, RATE, **image), getattr(built, "learner", None)

    scene = to_plain(ImageConfig(count=bench.rows, lr=RATE, **image))
    return cached(bench, name, {"method": method, "image": scene, **to_plain(config)}, make)


def cached(bench: Bench, name: str, settings: Mapping[str, Any], make: Callable[[], tuple[X, Any]]) -> Made:
    """The result of `make`, read from `name` in the folder `bench.cache` where it was computed before.

    `make` returns images, and what beside the prior counts calls (or None). A cached result is used for the same
    bench, weights of its prior and `settings`; anything else is computed anew and replaces it.
    """
    key = {"settings": dict(settings), "texts": list(bench.texts), "steps": bench.steps, "seed": bench.seed}
    key |= {"weights": fingerprint(bench.prior.net), "precision": str(bench.prior.dtype)}

    def compute() -> Made:
        calls, rows, begin = bench.prior.calls, bench.prior.rows, clock.perf_counter()
        x, beside = make()
        return Made(
            (255 * pixels(bench, x)).round().to(torch.uint8),
            bench.prior.calls - calls + getattr(beside, "calls", 0),
            bench.prior.rows - rows + getattr(beside, "rows", 0),
            clock.perf_counter() - begin,
        )

    return compute() if bench.cache is None else remembered(bench.cache, name, key, Made, compute)


def remembered(
    cache: Path, name: str, key: Mapping[str, Any], kind: type[Result], compute: Callable[[], Result]
) -> Result:
    """The result of a name, where it was computed before under an equal key; else it is computed, and replaces that.

    `kind` is a dataclass of tensors and plain values.
    """
    for folder in places(cache, name):
        with contextlib.suppress(ValueError):  # a damaged one, or of an earlier version, is computed anew
            found = checkpoint.read(folder)
            if found is not None and found["key"] == key:
                return kind(**found["made"])
    made = compute()
    checkpoint.write(places(cache, name)[0], {"index": 0, "key": dict(key), "made": vars(made)})
    return made


def places(cache: Path, name: str) -> tuple[Path, Path]:
    """The folder of a name, which no other name has, and that of earlier versions, which is only read.

    The latter is shared by names that differ in signs only, as "2.5" and "-2.5".
    """
    words = slug(name)
    return cache / f"{words}.{hashlib.sha256(name.encode()).hexdigest()[:12]}", cache / words


def fingerprint(net: nn.Module) -> str:
    """The SHA-256 of all weights."""
    digest = hashlib.sha256()
    for weight in net.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
