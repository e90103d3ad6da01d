"""SDI's figures 4 and 6 in 3D: render, noise, noisy image and one-step image in the course of runs.

Every run writes these pictures at some of its steps (`runs/journal.py`); they are read back from its folder.

V views of a step   H W pixels in [0, 1]   K moments
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from scoredistill.export.sheet import Sheet
from scoredistill.recipes.recipe import TrainingConfig
from scoredistill.runs.folder import RunFolder
from scoredistill.runs.journal import CLEAN, GAP, NOISE, NOISY, RENDER, SHOWN
from scoredistill.scenes.pixels import read_pixels
from scoredistill.studies.evolution import detail
from scoredistill.studies.finished import Finished
from scoredistill.studies.scene_study import Above, Exceeds, SceneStudy
from scoredistill.studies.sdi_noise_patterns import VISIBLE, concentration
from scoredistill.studies.sdi_scenes import SIMILAR
from scoredistill.toybox import BACKGROUND

if TYPE_CHECKING:
    from scoredistill.studies.scene_conduct import Found

ROWS = {RENDER: "render", NOISE: "noise", NOISY: "noisy image", CLEAN: "denoised in one step"}
SIZE = 64  # pixels at which the pictures are compared
LEAST = 1e-6  # mean square whose logarithm can still be taken
SDS, RANDOM, SDI = "sds", "sdi, random noise", "sdi"

Pictures = Mapping[str, Float[Tensor, "V 3 H W"]]
"""The pictures of a step, by name."""


def traced(run: Finished) -> dict[str, float]:
    """What the pictures of a run say of its course; nothing without them, or where the prior draws no toys.

    noise_on_toy: energy of the noise on the toy over that beside it. early_similarity: of the one-step images of the
    first half, to the caption. log_residual: log10 of the mean square between one-step image and render. nearer_clean:
    how much nearer in detail a render is to its one-step image than to its noisy image. sharpening: detail of the last
    renders less that of the first.
    """
    course = [each for _, each in pictures(run.folder, run.recipe.training) if each.keys() >= ROWS.keys()]
    if not run.family or len(course) < 2:
        return {}
    early = torch.cat([each[CLEAN] for each in course[: (len(course) + 1) // 2]])
    return {
        "noise_on_toy": fmean(on_the_toy(each) for each in course),
        "early_similarity": float(run.judge.similarity(early, [run.recipe.prompt.text]).mean()),
        "log_residual": fmean(math.log10(max(_mean_square(each), LEAST)) for each in course),
        "nearer_clean": fmean(nearer_clean(each) for each in course),
        "sharpening": float(detail(course[-1][RENDER]).mean() - detail(course[0][RENDER]).mean()),
    }


def pictures(path: Path, training: TrainingConfig) -> Iterator[tuple[int, Pictures]]:
    """The pictures of each step that has some, view by view, at `SIZE` pixels."""
    for index, files in RunFolder.open(path).traces().items():
        count = min(SHOWN, training.batch_at(index / training.steps, training.batch))
        yield index, {name: small(tiles(read_pixels(file)[0], count)) for name, file in files.items()}


def tiles(sheet: Float[Tensor, "3 h w"], count: int) -> Float[Tensor, "V 3 H W"]:
    """The images of a contact sheet as `grid` lays them out, nearly square."""
    columns = math.ceil(math.sqrt(count))
    height, width = ((sheet.shape[i] + GAP) // n for i, n in ((1, math.ceil(count / columns)), (2, columns)))
    corners = [(k // columns * height, k % columns * width) for k in range(count)]
    return torch.stack([sheet[:, y : y + height - GAP, x : x + width - GAP] for y, x in corners])


def small(rgb: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V 3 h w"]:
    """Pictures at `SIZE` pixels."""
    return interpolate(rgb, (SIZE, SIZE), mode="bilinear", antialias=True)


def on_the_toy(each: Pictures) -> float:
    """Energy of the noise on the toy over that beside it; the toy is where the one-step image is no background."""
    toy = (each[CLEAN] - torch.tensor(BACKGROUND)[:, None, None]).abs().amax(1, keepdim=True) > VISIBLE
    return float(concentration(each[NOISE] - 0.5, toy).mean())


def nearer_clean(each: Pictures) -> float:
    """Distance of a render's detail to that of its noisy image, less that to its one-step image."""
    render, noisy, clean = (detail(each[name]) for name in (RENDER, NOISY, CLEAN))
    return float(((render - noisy).abs() - (render - clean).abs()).mean())


def courses(found: Found) -> dict[str, Sheet]:
    """The pictures of the first run of each arm, one view of each step."""
    sheets: dict[str, Sheet] = {}
    for arm in found.runs.arms:
        path = found.folders[arm, 0, 0]
        training = RunFolder.open(path).recipe.training
        course = {index: each for index, each in pictures(path, training) if each.keys() >= ROWS.keys()}
        if course:
            columns = [torch.stack([each[name][0] for name in ROWS]) for each in course.values()]
            labels = [f"step {index}" for index in course]
            sheets[f"The course of {arm}: {found.runs.captions[0]}"] = Sheet(
                torch.stack(columns, 1), list(ROWS.values()), labels
            )
    return sheets


def _mean_square(each: Pictures) -> float:
    return float((each[CLEAN] - each[RENDER]).square().mean())


TRACES = SceneStudy(
    name="sdi_traces",
    title="Renders, noise and one-step images during SDS and SDI in 3D",
    paper="sdi",
    figure="figures 4 and 6",
    claim="Renders evolve from blurry to sharp, as DDIM's one-step images do and its noisy images do not; inferred "
    "noise lies on the object, where that of SDS covers the view, and its one-step images are more consistent and have "
    "details earlier.",
    arms=lambda terms: {
        SDS: {"method": "sds"},
        RANDOM: {"method": "sdi", "method.noise_source": "random"},
        SDI: {"method": "sdi"},
    },
    statements=(
        Above("sharpening", SDI),
        Above("nearer_clean", SDI),
        Exceeds("noise_on_toy", SDI, RANDOM, 0.1),
        Exceeds("early_similarity", SDI, RANDOM, SIMILAR),
        Exceeds("log_residual", RANDOM, SDI, 0.1),
    ),
    captions=6,
    seeds=2,
    metrics=(
        "sharpening",
        "nearer_clean",
        "noise_on_toy",
        "early_similarity",
        "log_residual",
        "similarity",
        "sharpness",
    ),
    further=traced,
    sheets=courses,
    remarks="The times of SDI fall whatever its noise, so that with random noise it is SDS with falling t; those of "
    "SDS are drawn. Measured on the pictures that runs write of eight of their steps, of up to four views, each from "
    "a camera of its own. Consistent: the one-step image is near the render (log_residual).",
)
