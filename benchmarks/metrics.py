"""The validation of the metrics: true renders of Toybox, degraded step by step, and what every scalar makes of them.

    python benchmarks/metrics.py --toys 64

A scalar measures a degradation if every step changes its mean in one direction beyond two standard errors, paired by
toy. Shares of recognized images are thresholds and may have plateaus: then no step may go the other way beyond two
standard errors, and the last must differ from the first; the plateaus are named. Meters that were considered and not
chosen are measured beside the chosen ones: four of sharpness, and twins of CLIP-IQA in the judge's features. Writes
curves.json, curves.md, curves.html (plots) and degraded.png.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from scoredistill.evaluate.judge import PROMPTS, Judge, plain
from scoredistill.evaluate.metrics import saturation, sharpness
from scoredistill.evaluate.report import expected, markdown
from scoredistill.export.findings import Findings, render_findings
from scoredistill.export.images import write_png
from scoredistill.export.plot import Line, Plot
from scoredistill.export.sheet import Sheet
from scoredistill.runs.renders import RESOLUTION
from scoredistill.toybox import BACKGROUND, COLORS, KINDS, Description, build, render
from scoredistill.toybox.dataset import random_cameras

RESULTS = Path(__file__).parent / "results" / "metrics"
SEED = 40_000  # apart from the seeds of every data set
LEVEL = 1 / 255  # of 8 bits
CERTAIN = 2.0  # standard errors of a paired difference
LUMA = (0.299, 0.587, 0.114)

Images = Float[Tensor, "N 3 H W"]


@dataclass(frozen=True)
class Toys:
    """True renders, and the same views of the same toys in a wrong color and of toys of a wrong kind."""

    right: Images
    wrong_kind: Images
    wrong_color: Images
    prompts: list[str]


def toys(count: int, seed: int = SEED) -> Toys:
    """`count` toys of random kinds and colors, one view each; the pixels are rounded to 8 bits."""
    rng = np.random.default_rng(seed)
    kinds, colors = list(KINDS), list(COLORS)
    views, prompts = [], []
    for index in range(count):
        kind, color = int(rng.integers(len(kinds))), int(rng.integers(len(colors)))
        other = kinds[(kind + int(rng.integers(1, len(kinds)))) % len(kinds)]
        hue = colors[(color + int(rng.integers(1, len(colors)))) % len(colors)]
        cameras = random_cameras(rng, 1, RESOLUTION)
        for description in ((kinds[kind], colors[color]), (other, colors[color]), (kinds[kind], hue)):
            toy = build(Description(*description), np.random.default_rng([seed, index]))
            views.append(render(toy, cameras, torch.tensor(BACKGROUND)).rgb)
        prompts.append(plain(kinds[kind], colors[color]))
    right, wrong_kind, wrong_color = (
        (255 * torch.cat(views).clamp(0, 1)).round().div(255).unflatten(0, (count, 3)).unbind(1)
    )
    return Toys(right, wrong_kind, wrong_color, prompts)


def luma(rgb: Images) -> Float[Tensor, "N 1 H W"]:
    return (rgb * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def blur(rgb: Tensor, std: float) -> Tensor:
    """A Gaussian blur of std pixels, truncated at 4 std."""
    if std == 0:
        return rgb
    reach = math.ceil(4 * std)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1.0) / std) ** 2)
    weights = (weights / weights.sum()).expand(rgb.shape[1], 1, -1)
    padded = functional.pad(rgb, (reach,) * 4, mode="replicate")
    across = functional.conv2d(padded, weights[:, :, None, :], groups=rgb.shape[1])
    return functional.conv2d(across, weights[:, :, :, None], groups=rgb.shape[1])


def noisy(rgb: Images, std: float) -> Images:
    noise = torch.randn(rgb.shape, generator=torch.Generator().manual_seed(SEED))
    return (rgb + std * noise).clamp(0, 1)


def saturated(rgb: Images, factor: float) -> Images:
    gray = luma(rgb)
    return (gray + factor * (rgb - gray)).clamp(0, 1)


def posterized(rgb: Images, levels: float) -> Images:
    return (rgb * (levels - 1)).round() / (levels - 1)


@dataclass(frozen=True)
class Degradation:
    """A degradation of growing strength; the first step is the least."""

    steps: tuple[float, ...]
    unit: str
    apply: Callable[[Toys, float], Images]


DEGRADATIONS: Mapping[str, Degradation] = {
    "blur": Degradation((0, 0.5, 1, 1.5, 2, 3, 4), "std in pixels", lambda t, s: blur(t.right, s)),
    "noise": Degradation((0, 0.01, 0.02, 0.04, 0.08, 0.16), "std", lambda t, s: noisy(t.right, s)),
    "saturation": Degradation((0.25, 0.5, 0.75, 1, 1.25, 1.5, 2), "factor", lambda t, s: saturated(t.right, s)),
    "posterization": Degradation(
        (256, 16, 8, 5, 4, 3, 2), "levels of each channel", lambda t, s: posterized(t.right, s)
    ),
    "wrong kind": Degradation((0, 0.25, 0.5, 0.75, 1), "share", lambda t, s: torch.lerp(t.right, t.wrong_kind, s)),
    "wrong color": Degradation((0, 0.25, 0.5, 0.75, 1), "share", lambda t, s: torch.lerp(t.right, t.wrong_color, s)),
}

CLAIMS = {
    "sharpness": {"blur": -1},
    "saturation": {"saturation": 1},
    "similarity": {"wrong kind": -1, "wrong color": -1},
    "retrieval": {"wrong kind": -1, "wrong color": -1},
    "kind_right": {"wrong kind": -1},
    "color_right": {"wrong color": -1},
}
"""The degradations that each metric of the package claims to measure, and the direction."""
TWINS = {
    "twin of clip-iqa-sharpness": ("blur",),
    "twin of clip-iqa-quality": ("blur", "noise", "posterization"),
    "twin of clip-iqa-real": ("posterization", "saturation"),
}
"""What each twin would have to fall with. The judge's vocabulary has no texts such as "Blurry photo.", so the opposite
of an intact render is the mean feature of degraded ones."""
TWIN_TOYS, TWIN_SEED = 96, 50_000  # of these means, apart from the toys that are measured


def convolved(rgb: Images, kernel: list[list[float]]) -> Float[Tensor, "N 1 H W"]:
    return functional.conv2d(functional.pad(luma(rgb), (1,) * 4, mode="replicate"), torch.tensor(kernel)[None, None])


def laplacian(rgb: Images) -> Float[Tensor, "N"]:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000)."""
    return convolved(rgb, [[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).var((1, 2, 3))


def tenengrad(rgb: Images) -> Float[Tensor, "N"]:
    """The mean squared Sobel gradient (Krotkov 1988)."""
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    return sum(convolved(rgb, kernel.tolist()) ** 2 for kernel in (sobel, sobel.T)).mean((1, 2, 3))  # type: ignore[union-attr]


def spectral(rgb: Images) -> Float[Tensor, "N"]:
    """The share of the energy above half of the Nyquist frequency."""
    gray = luma(rgb)
    window = torch.hann_window(gray.shape[-1], periodic=False)
    power = torch.fft.fft2((gray - gray.mean((2, 3), keepdim=True)) * window[:, None] * window).abs() ** 2
    frequency = 2 * torch.fft.fftfreq(gray.shape[-1])
    high = frequency[:, None] ** 2 + frequency**2 > 0.25
    return (power * high).sum((1, 2, 3)) / power.sum((1, 2, 3))


def crete(rgb: Images) -> Float[Tensor, "N"]:
    """1 - the blur metric of Crete et al. 2007, with a box of 9 pixels."""
    found = []
    for dim in (2, 3):
        gray = luma(rgb).transpose(3, dim)
        mean = functional.avg_pool2d(functional.pad(gray, (4, 4, 0, 0), mode="replicate"), (1, 9), stride=1)
        sharp, soft = (each.diff(dim=3).abs() for each in (gray, mean))
        found.append(1 - (sharp - soft).clamp(min=0).sum((1, 2, 3)) / sharp.sum((1, 2, 3)))
    return 1 - torch.stack(found).amax(0)


REJECTED = {"Laplacian": laplacian, "Tenengrad": tenengrad, "spectral energy": spectral, "Crete": crete}


def twins(judge: Judge) -> dict[str, Callable[[Images], Float[Tensor, "N"]]]:
    """CLIP-IQA's softmax with mean features of intact and of degraded renders of other toys in place of texts."""
    given = toys(TWIN_TOYS, TWIN_SEED)
    intact = prototype(judge, [given.right])

    def twin(degradations: tuple[str, ...]) -> Callable[[Images], Float[Tensor, "N"]]:
        chosen = [DEGRADATIONS[name] for name in degradations]
        images = [each.apply(given, step) for each in chosen for step in each.steps]
        degraded = [each for each in images if (each - given.right).abs().amax() > LEVEL]
        pair = torch.stack([intact, prototype(judge, degraded)])
        return lambda rgb: (100 * judge.image_features(rgb) @ pair.T).softmax(-1)[:, 0]

    return {name: twin(degradations) for name, degradations in TWINS.items()}


def prototype(judge: Judge, images: list[Images]) -> Float[Tensor, "D"]:
    """The mean of the judge's features, as a unit vector."""
    return functional.normalize(torch.cat([judge.image_features(each) for each in images]).mean(0), dim=-1)


def measured(
    judge: Judge,
    captions: Float[Tensor, "K D"],
    rgb: Images,
    prompts: list[str],
    rejected: Mapping[str, Callable[[Images], Float[Tensor, "N"]]],
) -> dict[str, Float[Tensor, "N"]]:
    """Every scalar of every image, those of `rejected` too; `captions` are the features of all plain ones."""
    seen, similarities = judge.recognize(rgb), judge.image_features(rgb) @ captions.T
    own = torch.tensor([PROMPTS.index(prompt) for prompt in prompts])
    subjects = [expected(prompt) for prompt in prompts]
    scalars = {
        "sharpness": sharpness(rgb),
        "saturation": saturation(rgb),
        "similarity": similarities.gather(1, own[:, None])[:, 0],
        "retrieval": (similarities.argmax(1) == own).float(),
        "kind_right": torch.tensor([kind == name for (kind, _), name in zip(subjects, seen.kinds, strict=True)]),
        "color_right": torch.tensor([color == name for (_, color), name in zip(subjects, seen.colors, strict=True)]),
    }
    return scalars | {name: meter(rgb) for name, meter in rejected.items()}


def spearman(means: Float[Tensor, "S"]) -> float:
    """Spearman's rho of the means and their order, ties at their mean rank; 0 for constant means."""
    ranks = (means[:, None] > means).double().sum(1) + (means[:, None] == means).double().sum(1) / 2
    order = torch.arange(len(means)).double()
    return float(torch.corrcoef(torch.stack([ranks, order]))[0, 1].nan_to_num())


def curve(values: Float[Tensor, "S N"]) -> dict[str, list[float] | float]:
    """Mean and standard error at each step, the paired differences in standard errors, Spearman's rho of the means."""
    values = values.double()
    count, differences = values.shape[1], values.diff(dim=0)
    errors = (differences.std(1) / math.sqrt(count)).clamp(min=1e-12)
    total = values[-1] - values[0]
    return {
        "mean": values.mean(1).tolist(),
        "error": (values.std(1) / math.sqrt(count)).tolist(),
        "steps in standard errors": (differences.mean(1) / errors).tolist(),
        "total in standard errors": float(total.mean() / (total.std() / math.sqrt(count)).clamp(min=1e-12)),
        "rho": spearman(values.mean(1)),
    }


def claims(name: str) -> Mapping[str, int]:
    """What a scalar measures, or would have to."""
    return CLAIMS.get(name) or {what: -1 for what in TWINS.get(name, ()) if what != "saturation"}  # worse both ways


def verdict(found: Mapping[str, Mapping[str, dict]], name: str) -> str:
    """Whether a scalar is monotone in all that it claims to measure: "yes", "with plateaus: ..." or "no: ..."."""
    plateaus, wrong = [], []
    for what, sign in claims(name).items():
        curves = found[what][name]
        steps = [sign * step for step in curves["steps in standard errors"]]
        values = DEGRADATIONS[what].steps
        spans = [f"{what} {values[i]:g} to {values[i + 1]:g}" for i in range(len(steps))]
        wrong += [span for span, step in zip(spans, steps, strict=True) if step < -CERTAIN]
        plateaus += [span for span, step in zip(spans, steps, strict=True) if -CERTAIN <= step <= CERTAIN]
        if sign * curves["total in standard errors"] <= CERTAIN or sign * curves["rho"] < 0.85:
            wrong.append(f"{what} as a whole")
    if wrong:
        return f"no: {', '.join(wrong)}"
    return f"with plateaus: {', '.join(plateaus)}" if plateaus else "yes"


def table(found: Mapping[str, Mapping[str, dict]]) -> list[dict[str, str]]:
    """Each scalar: rho, and the smallest step in standard errors, for each degradation."""
    rows = []
    for name in next(iter(found.values())):
        row = {"metric": name}
        for what, curves in found.items():
            steps = curves[name]["steps in standard errors"]
            row[what] = f"{curves[name]['rho']:+.2f} ({min(map(abs, steps)):.0f})"
        judged = verdict(found, name) if claims(name) else ""
        chosen = "yes" if name in CLAIMS else "no"
        rows.append(row | {"claims": ", ".join(claims(name)), "monotone in it": judged, "shown": chosen})
    return rows


def plots(found: Mapping[str, Mapping[str, dict]]) -> dict[str, Plot]:
    """Two plots a degradation: the metrics, and what was not chosen, relative to the largest mean, against the step."""
    drawn = {}
    for title, shown in (("{}", True), ("{}: not chosen", False)):
        for what, curves in found.items():
            lines = [_line(name, values) for name, values in curves.items() if (name in CLAIMS) == shown]
            steps = ", ".join(f"{step:g}" for step in DEGRADATIONS[what].steps)
            drawn[title.format(what)] = Plot(lines, f"step: {DEGRADATIONS[what].unit} {steps}")
    return drawn


def _line(name: str, values: Mapping[str, list[float]]) -> Line:
    top = max(map(abs, values["mean"])) or 1.0
    y, spread = ([each / top for each in values[key]] for key in ("mean", "error"))
    return Line(name, list(range(len(y))), y, spread)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS)
    flags = parser.parse_args()
    torch.set_num_threads(1)  # the next line holds for this thread only
    torch.set_flush_denormal(True)  # faint tails of a blur
    given, judge = toys(flags.toys), Judge.load()
    captions = judge.text_features(PROMPTS)
    rejected = REJECTED | twins(judge)
    found: dict[str, dict[str, dict]] = {}
    for what, degradation in DEGRADATIONS.items():
        images = [degradation.apply(given, step) for step in degradation.steps]
        values = [measured(judge, captions, rgb, given.prompts, rejected) for rgb in images]
        found[what] = {name: curve(torch.stack([each[name].float() for each in values])) for name in values[0]}
        print(what, flush=True)
    flags.out.mkdir(parents=True, exist_ok=True)
    facts = provenance() | {"toys": flags.toys, "resolution": RESOLUTION}
    steps = {name: list(each.steps) for name, each in DEGRADATIONS.items()}
    content = {"about": facts, "steps": steps, "curves": found, "table": table(found)}
    (flags.out / "curves.json").write_text(json.dumps(content, indent=1) + "\n")
    words = (
        f"{flags.toys} true renders at {RESOLUTION} pixels, commit {facts['commit']}, `{facts['command']}`. "
        "Spearman's rho of the mean over the steps of each degradation, and in brackets the smallest paired step in "
        "standard errors. With plateaus: steps within two standard errors, none against the direction beyond them.\n\n"
    )
    (flags.out / "curves.md").write_text(words + markdown(table(found)))
    write_sheet(given, flags.out / "degraded.png")
    write_page(found, facts, flags.out / "curves.html")


def write_sheet(given: Toys, path: Path) -> None:
    """The first toy at the middle and the last step of each degradation."""
    rows = []
    for each in DEGRADATIONS.values():
        chosen = (each.steps[0], each.steps[len(each.steps) // 2], each.steps[-1])
        rows.append(torch.stack([each.apply(given, step)[0] for step in chosen]))
    write_png(Sheet(torch.stack(rows), tuple(DEGRADATIONS), ("first", "middle", "last")).picture(), path)


def write_page(found: Mapping[str, Mapping[str, dict]], facts: Mapping[str, object], path: Path) -> None:
    """The curves as an offline page."""
    failed = [name for name in CLAIMS if verdict(found, name).startswith("no")]
    page = Findings(
        title="The metrics on degraded renders",
        subtitle=f"{facts['toys']} toys at {RESOLUTION} pixels",
        claim="Every metric is monotone in the degradations that it claims to measure.",
        holds=not failed,
        because=f"Not monotone: {', '.join(failed)}." if failed else "All are.",
        rows=table(found),
        plots=plots(found),
        settings=facts,
        command=str(facts["command"]),
    )
    path.write_text(render_findings(page))


if __name__ == "__main__":
    main()
