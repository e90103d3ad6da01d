"""Analytic normals: the small networks and a step of the preset `paper`, by kernels and by torch.

    OMP_NUM_THREADS=1 python benchmarks/normals.py --clock cpu            on a machine whose cores are shared
    python benchmarks/normals.py --points 4096 --size 16 --repeats 1      a small test

A step renders one view late in a run (all levels active, lit by the random lamp) and backpropagates an image loss and
the preset's regularizers. `networks by torch` uses kernels for everything else. The variants run in turn; a ratio is
that of two neighbors in time, and its median, least and greatest of all rounds are given. Each backend has the features
of the networks in its own memory layout, as in a step. Gradients are compared with torch's, relative to their norms.
Writes benchmarks/results/normals.json and normals.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.timing import CLOCKS, now
from scoredistill.evaluate.report import markdown
from scoredistill.kernels import backend, perceptron
from scoredistill.recipes.presets import PRESETS
from scoredistill.scenes.nerf import NeRF, NerfConfig

RESULTS = Path(__file__).with_name("results")
NETWORKS = [(12, 32, 1), (32, 64, 1), (32, 64, 3), (32, 16, 1), (64, 128, 1)]
"""Inputs, hidden units and outputs: density of `fast`; density and albedo of `paper`; a smaller and a larger one."""
VARIANTS = ("torch", "networks by torch", "kernels")
Work = Callable[[], object]
Layouts = dict[str, Tensor]
Matrices = tuple[Tensor, Tensor]


@contextmanager
def variant(name: str) -> Iterator[None]:
    """The kernels of one of the `VARIANTS`."""
    with backend.using("torch" if name == "torch" else "warp"):
        if name == "networks by torch":
            with patch.object(perceptron, "uses_warp", lambda *_: False):
                yield
        else:
            yield


def compared(name: str, work: dict[str, Work], repeats: int, clock: str) -> dict[str, Any]:
    """Milliseconds of each variant's work, in turn, and how many times as long the others take as the last."""
    taken: dict[str, list[float]] = {choice: [] for choice in work}
    for _ in range(repeats + 1):
        for choice, run in work.items():
            with variant(choice):
                began = now(clock)
                run()
                taken[choice].append(1e3 * (now(clock) - began))
    times = {choice: values[1:] for choice, values in taken.items()}  # the first round warms up
    row: dict[str, Any] = {"what": name} | {choice: min(values) for choice, values in times.items()}
    *others, last = times
    for choice in others:
        ratios = sorted(slow / quick for slow, quick in zip(times[choice], times[last], strict=True))
        row[f"{choice} / {last}"] = statistics.median(ratios)
        row["range" if len(others) == 1 else f"range, {choice}"] = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return row


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def networks(points: int, repeats: int, clock: str) -> list[dict[str, Any]]:
    """Every network forward and backward; its input gradient, and that of the matrices by the input gradient."""
    rows = []
    for inputs, hidden, outputs in NETWORKS:
        shapes = ((hidden, inputs), (outputs, hidden), (points, outputs))
        first, second, grad = (torch.randn(*shape, generator=rng(i)) for i, shape in enumerate(shapes))
        matrices = first.requires_grad_(), second.requires_grad_()
        x, u = (layouts(torch.randn(points, inputs, generator=rng(i))) for i in (3, 4))

        def both(choice: str, x: Layouts = x, matrices: Matrices = matrices, grad: Tensor = grad) -> object:
            leaves = (x[choice].requires_grad_(), *matrices)
            return torch.autograd.grad(perceptron.perceptron(*leaves), leaves, grad)

        def second_order(
            choice: str, x: Layouts = x, u: Layouts = u, matrices: Matrices = matrices, grad: Tensor = grad
        ) -> object:
            return torch.autograd.grad(perceptron.input_gradient(x[choice], *matrices, grad), matrices, u[choice])

        for name, function in (("forward + backward", both), ("input gradient and its gradient", second_order)):
            work = {choice: partial(function, choice) for choice in x}
            rows.append(compared(f"{points} x {inputs}-{hidden}-{outputs}, {name}", work, repeats, clock))
    return rows


def layouts(features: Tensor) -> Layouts:
    """The same features [N K] in the memory layout of each backend: by rows in torch, by columns in warp."""
    return {"torch": features, "kernels": features.T.contiguous().T}


class Step:
    """One view of the preset's NeRF late in a run, and the gradient of its losses."""

    def __init__(self, size: int) -> None:
        recipe = PRESETS["paper"]("a purple snowman")
        assert isinstance(recipe.scene, NerfConfig)
        light = replace(recipe.scene.lambert, after=0, albedo_share=0.0, textureless_share=0.0)
        settings = replace(recipe.scene, first_levels=recipe.scene.grid.levels, lambert=light)
        self.scene = NeRF(settings, rng())
        self.cameras = recipe.views.cameras(1, rng(3), resolution=size)
        self.rgb = torch.empty(0)

    def __call__(self) -> None:
        self.scene.zero_grad()
        frame = self.scene.render(self.cameras, torch.ones(3), rng(1))
        self.rgb = frame.rgb.detach()
        (frame.rgb.square().mean() + self.scene.regularizer(frame, self.cameras, 0.5)).backward()

    def found(self) -> dict[str, Tensor]:
        """The image and the gradients of the last step."""
        grads = {name: value.grad for name, value in self.scene.named_parameters() if value.grad is not None}
        return {"image": self.rgb} | grads


def steps(size: int, repeats: int, clock: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The times of a step by each variant, and the relative differences of kernels from torch."""
    step = Step(size)
    row = compared(f"step, {size} x {size}", dict.fromkeys(VARIANTS, step), repeats, clock)
    results = []
    for choice in ("torch", "kernels"):
        with variant(choice):
            step()
        results.append(step.found())
    expected, found = results
    return row, {name: float((found[name] - value).norm() / value.norm()) for name, value in expected.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[65_000, 4_000], help="points of the networks")
    parser.add_argument("--size", type=int, default=64, help="resolution of the step's view in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds, after one that warms up")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path, default=RESULTS / "normals")
    flags = parser.parse_args()
    step, differences = steps(flags.size, flags.repeats, flags.clock)
    small = [row for points in flags.points for row in networks(points, flags.repeats, flags.clock)]
    about = {**provenance(), "threads": torch.get_num_threads(), "clock": flags.clock}
    record = {"about": about, "step": step, "differences": differences, "networks": small}
    flags.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    sections = [
        "# Analytic normals\n\nMilliseconds, best of several; ratios of neighbors; see `benchmarks/normals.py`.\n",
        "\n".join(f"- {name}: {value}" for name, value in about.items()) + "\n",
        "## A step of the preset paper\n",
        markdown([step]),
        "Differences between kernels and torch, relative to the norm:\n",
        "\n".join(f"- {name}: {value:.1e}" for name, value in differences.items()) + "\n",
        "## Small networks\n",
        markdown(small),
    ]
    flags.out.with_suffix(".md").write_text("\n".join(sections))
    print("\n".join(sections))


if __name__ == "__main__":
    main()
