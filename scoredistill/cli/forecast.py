"""What a run will cost, before it: denoiser calls and rows counted, time and memory measured on its first steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scoredistill.cli.costs import images_of_step, run_cost
from scoredistill.recipes.build import Parts, build_views
from scoredistill.recipes.command import command
from scoredistill.recipes.recipe import changed
from scoredistill.recipes.text import write_recipe
from scoredistill.runs.memory import peak_memory

MEASURED = 2  # steps, after one that warms up


@dataclass(frozen=True)
class Calibration:
    """Seconds on this machine, and the peak memory of the process (of the GPU, where one is used) in MB."""

    row: float  # of the denoiser, per row
    step: float  # of everything else, per step: renders, gradients, the optimizer
    memory: float | None


class Metered:
    """A prior that counts the rows of its noise predictions and the seconds that they take."""

    def __init__(self, prior: Any) -> None:
        self.prior = prior
        self.rows, self.seconds = 0, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def eps(self, x_t: Tensor, t: Tensor, *conditions: Any) -> tuple[Tensor, ...]:
        """See `Prior.eps`."""
        with self._measured():
            predicted = self.prior.eps(x_t, t, *conditions)
        self.rows += len(x_t) * len(predicted)
        return predicted

    @contextmanager
    def _measured(self) -> Iterator[None]:
        begin = _now()
        yield
        self.seconds += _now() - begin


def forecast(parts: Parts) -> str:
    """The recipe as YAML, which `--config` reads, with what its run costs in comments; nothing is written.

    Time and memory are those of its late steps, where early ones are smaller.
    """
    recipe = parts.recipe
    steps, whole = recipe.training.steps, run_cost(recipe)
    early = recipe.training.early_share
    images = [images_of_step(recipe, progress) for progress in ((0.0, early) if early else (0.0,))]
    late = changed(recipe, "training.early_share", 0.0)
    found = calibrate(replace(parts, views=build_views(late, parts.prior.views)))
    seconds = steps * found.step + whole.rows * found.row
    lines = [
        command(recipe),
        f"denoiser: {whole.calls:,.0f} calls, {whole.rows:,.0f} rows, counted: {steps} steps of "
        f"{', later '.join(map(str, dict.fromkeys(images)))} images",
        f"time: about {_span(seconds)} for the steps, measured on this machine with {MEASURED} of them "
        f"({1000 * found.row:.1f} ms per row, {1000 * found.step:.0f} ms per step for the rest); "
        f"{'preview' if recipe.flat else 'preview, turntable, mesh'} and page follow",
        "memory: " + (f"at least {found.memory:,.0f} MB, the peak of these steps" if found.memory else "unknown"),
    ]
    return "".join(f"# {line}\n" for line in lines) + write_recipe(recipe)


def calibrate(parts: Parts) -> Calibration:
    """Take a first step and `MEASURED` more, even of a shorter run; the scene of `parts` is used up by that."""
    prior, taken = Metered(parts.prior), 1 + MEASURED
    recipe = changed(parts.recipe, "training.steps", max(parts.recipe.training.steps, taken))
    begin = 0.0
    for index, _ in zip(range(taken), replace(parts, recipe=recipe, prior=prior).optimize(), strict=False):
        if index == 0:
            prior.rows, prior.seconds, begin = 0, 0.0, _now()
    beside = max(_now() - begin - prior.seconds, 0.0) / MEASURED
    return Calibration(prior.seconds / max(prior.rows, 1), beside, peak_memory())


def _now() -> float:
    """Seconds, when a GPU has done all that it was asked."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.monotonic()


def _span(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    for unit, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} seconds"
