"""What is written to a run's folder during the run: the log, checkpoints, pictures of the prior's input and output."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoredistill.contracts import Prior, Step
from scoredistill.export.images import grid
from scoredistill.recipes.build import Parts
from scoredistill.runs.finish import show_so_far
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.log import Record
from scoredistill.runs.origin import changed_inputs, origin
from scoredistill.runs.trackers import Trackers

MOMENTS = 8  # steps, evenly over the run, at which pictures are written
SHOWN, GAP = 4, 2  # views of a step in a picture, and pixels between them
RENDER, NOISY, CLEAN, NOISE = "1-render", "2-noised", "3-denoised", "4-noise"  # names of the pictures of a step
NOISE_RANGE = 3.0  # standard deviations of noise from gray to white

log = logging.getLogger(__name__)


def record(
    folder: RunFolder,
    parts: Parts,
    stop: Callable[[], bool] = lambda: False,
    *,
    accept: bool = False,
    trackers: Trackers | None = None,
) -> Iterator[Record]:
    """Run the loop from the newest checkpoint to the end, or until `stop()` is true after a step.

    Yields the log's record of each step. Checkpoints: the first step, every `save_every` and the last one; a
    resumed run continues bit for bit on a CPU, with the number of threads that it began with. A preview every
    `preview_every` steps. `trackers` log the rows and the pictures too.
    ValueError where something that the run depends on has changed since the checkpoint, unless that is accepted.
    Raises as `optimize` does, or OSError; what was saved stays.
    """
    training, every = folder.recipe.training, folder.recipe.output.preview_every
    resume = folder.load(accept=accept)
    with _threads_of(resume, accept):
        now = origin(folder.recipe)
        if resume is not None and accept:
            folder.save(resume | {"origin": now})
        elif resume is not None:
            folder.refuse(resume, changed_inputs(resume["origin"], now))
        folder.write_config()
        done = -1 if resume is None else resume["index"]
        past = folder.rewind(done)
        began = time.monotonic() - (past[-1]["seconds"] if past else 0.0)
        moments = {round(k * (training.steps - 1) / (MOMENTS - 1)) for k in range(MOMENTS)}
        for step in parts.optimize(resume):
            entry = _entry(step, time.monotonic() - began)
            folder.check_config()
            folder.append(entry)
            pictures: dict[str, Path] = {}
            if step.index in moments:
                pictures |= folder.trace(step.index, _pictures(step, parts.prior))
            last = stop() or step.index == training.steps - 1
            if last or step.index % training.save_every == 0:
                folder.save(step.checkpoint() | {"origin": now})
            if not last and every and (step.index + 1) % every == 0:
                show_so_far(folder, parts.scene)
                pictures["preview"] = folder / "preview.png"
            if trackers is not None:
                trackers.row(entry)
                trackers.pictures(step.index, pictures)
            paused = time.monotonic()
            yield entry
            began += time.monotonic() - paused  # what the caller does meanwhile is no time of the run
            if last:
                return


@contextlib.contextmanager
def _threads_of(resume: dict[str, Any] | None, accept: bool) -> Iterator[None]:
    """Within the context, torch has as many threads as when the run began: their number orders sums."""
    here = torch.get_num_threads()
    began = here if resume is None or accept else resume["origin"]["machine"]["threads"]
    if began != here:
        log.warning("continuing with %d threads, as the run began, so that the result is bit-identical", began)
        torch.set_num_threads(began)
    try:
        yield
    finally:
        torch.set_num_threads(here)


@torch.no_grad()
def _entry(step: Step, seconds: float) -> Record:
    """One line of the log; `residual` is R = mean((D - x)^2), `seconds` are since the start."""
    probe: dict[str, Any] = {}
    if "t" in step.distilled.probe:
        probe["t"] = float(step.distilled.probe["t"].mean())
    if "x0" in step.distilled.probe:
        probe["residual"] = float((step.distilled.probe["x0"] - step.x).square().mean())
    return {
        "step": step.index,
        **probe,
        "grad_norm": float(step.distilled.grad.norm()),
        "regularization": step.regularization,
        "opacity": float(step.frame.opacity.mean()),
        "seconds": round(seconds, 3),
    }


@torch.no_grad()
def _pictures(step: Step, prior: Prior) -> dict[str, Tensor]:
    """The render, noised, and denoised in one step, and the noise itself, for up to `SHOWN` views."""
    probe = step.distilled.probe
    images = {RENDER: step.frame.rgb[:SHOWN]}
    for name, key in ((NOISY, "x_t"), (CLEAN, "x0"), (NOISE, "kappa")):
        if key in probe:
            images[name] = prior.decode(probe[key][:SHOWN] / (NOISE_RANGE if key == "kappa" else 1.0))
    return {name: grid(rgb.float().cpu().clamp(0, 1), gap=GAP) for name, rgb in images.items()}
