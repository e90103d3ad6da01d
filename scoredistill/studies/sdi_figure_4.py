"""SDI's figure 4 in 2D: DDIM's noisy images x(t), its one-step images x0(t), and the images of distillation meanwhile.

N = C S images of C captions and S seeds   K moments   c h w of the prior's space
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scoredistill.export.plot import Line, Plot
from scoredistill.export.sheet import Sheet
from scoredistill.methods.dsd import ode_grid, trajectory
from scoredistill.methods.method import MethodConfig
from scoredistill.methods.sdi import cached_noise_sdi
from scoredistill.methods.sds import SDS
from scoredistill.studies.distill import image, in_prior_space, query, watch
from scoredistill.studies.estimates import conclude, exceeds, over_seeds
from scoredistill.studies.evolution import apart, detail, moments
from scoredistill.studies.images import pixels
from scoredistill.studies.sdi_figure_1 import EXACT, exactly
from scoredistill.studies.study import Bench, Finding, Study

NOISY, CLEAN, BY_SDS, BY_SDI = "x(t) of DDIM", "x0(t) of DDIM", "image of SDS", "image of SDI"
Rgb = Float[Tensor, "N 3 H W"]


@dataclass(frozen=True)
class Sampling:
    """DDIM from the bench's noise: its noisy and its one-step images at every step."""

    times: Float[Tensor, "K"]
    noisy: Float[Tensor, "K N c h w"]
    clean: Float[Tensor, "K N c h w"]

    def at(self, t: float) -> int:
        """The step nearest to a time."""
        return int((self.times - t).abs().argmin())


def run(bench: Bench) -> Finding:
    """The courses of DDIM, SDS and SDI at the same times, and DDIM written as a process of its one-step images."""
    sampling = ddim(exactly(bench))
    rewritten = reparametrized(exactly(bench), sampling.times)
    difference = float((rewritten - sampling.clean).abs().max())
    times, images = distilled(bench, SDS(scale=bench.terms.scale, anneal=True, **bench.terms.window))
    steps = [sampling.at(t) for t in times]
    courses = {
        NOISY: [pixels(bench, sampling.noisy[step]) for step in steps],
        CLEAN: [pixels(bench, sampling.clean[step]) for step in steps],
        BY_SDS: images,
        BY_SDI: distilled(bench, bench.terms.sdi())[1],
    }
    details = {name: [bench.fold(detail(rgb)) for rgb in course] for name, course in courses.items()}
    holds, because = conclude(
        (difference < EXACT, f"DDIM as a process of x0(t) (eq. 6) differs from DDIM by {difference:.1g} at most"),
        exceeds("detail of x(t) at the first moment minus that at the last", details[NOISY][0], details[NOISY][-1]),
        *(
            exceeds(f"detail of {name} at the last moment minus that at the first", details[name][-1], details[name][0])
            for name in (CLEAN, BY_SDS, BY_SDI)
        ),
        *(
            exceeds(
                f"distance of the detail of {name} to that of x(t) minus the distance to that of x0(t)",
                apart(details[name], details[NOISY]),
                apart(details[name], details[CLEAN]),
            )
            for name in (BY_SDS, BY_SDI)
        ),
    )
    labels = [f"t = {t:.2f}" for t in times]
    return Finding(
        holds,
        because,
        rows=[
            {"": name, **{label: over_seeds(each) for label, each in zip(labels, course, strict=True)}}
            for name, course in details.items()
        ],
        sheets={"figure": Sheet(torch.stack([_firsts(course) for course in courses.values()]), list(courses), labels)},
        plots={"Detail over t": _plot(times, details)},
        settings={"scale": bench.terms.scale, "DDIM steps": bench.ddim_steps, **bench.terms.window},
        remarks="Detail is the root mean square difference of neighboring pixels. Both distillations start from plain "
        "gray, as a scene starts without contrast, and t falls linearly. The picture shows the first seed of the first "
        f"caption. {bench.terms.remarks}",
    )


@torch.no_grad()
def ddim(bench: Bench) -> Sampling:
    """DDIM from the bench's noise."""
    schedule, times = bench.prior.schedule, ode_grid(bench.prior.schedule, bench.ddim_steps)
    points, predictions = trajectory(query(bench), bench.noise, times, bench.terms.scale)
    levels = [t.expand(bench.rows) for t in times]
    clean = [schedule.clean(x_t, eps, t) for x_t, eps, t in zip(points, predictions, levels, strict=True)]
    return Sampling(times, points, torch.stack(clean))


@torch.no_grad()
def reparametrized(bench: Bench, times: Float[Tensor, "K"]) -> Float[Tensor, "K N c h w"]:
    """x0(t) by its own update, eq. 6 of the SDI paper (eq. 5 of the DSD paper), from the first on."""
    descending = [float(t) for t in times[1:]]
    return torch.stack(list(cached_noise_sdi(query(bench), bench.noise, scale=bench.terms.scale, times=descending)))


def distilled(bench: Bench, method: MethodConfig) -> tuple[list[float], list[Rgb]]:
    """The times of a distillation's moments, and its images before these steps, the last after it; from plain gray."""
    scene, wanted = image(bench, noise=0.0), moments(bench.steps)
    times: list[float] = []
    images: list[Rgb] = []
    for step in watch(bench, scene, method):
        if step.index in wanted:
            times.append(float(step.distilled.probe["t"][0]))
            images.append(pixels(bench, step.x))
    images[-1] = pixels(bench, in_prior_space(bench, scene))
    return times, images


def _firsts(course: Sequence[Rgb]) -> Float[Tensor, "K 3 H W"]:
    return torch.stack([rgb[0] for rgb in course])


def _plot(times: Sequence[float], details: Mapping[str, Sequence[Float[Tensor, "C S"]]]) -> Plot:
    lines = []
    for name, course in details.items():
        found = [over_seeds(each) for each in course]
        means, spreads = [each["mean"] for each in found], [each["sd"] for each in found]
        lines.append(Line(name, times, means, spreads))  # type: ignore[arg-type] (a mean is a number)
    return Plot(lines, across="t")


FIGURE_4 = Study(
    name="sdi_figure_4",
    title="One-step images evolve from blurry to sharp, as distilled images do",
    paper="sdi",
    figure="figure 4, and figure 2 of the DSD paper",
    claim="DDIM can be written as a process of its one-step images x0(t). They evolve from blurry to sharp, as the "
    "images of a distillation do, whereas DDIM's noisy images x(t) evolve from noise.",
    run=run,
    captions=3,
    seeds=2,
)
