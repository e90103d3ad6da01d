"""Splats: times and gradients of the fast rasterizer compared with its torch reference, and the growth of its cost.

    python benchmarks/splats.py
    python benchmarks/splats.py --splats 2000 --size 32 --repeats 2      a small test

One view of splats in a ball, each about a pixel wide at --size pixels; forward and backward through projection, sorting
and compositing, with random output gradients on all eight channels and the opacity. Times are the best of --repeats,
after a warm-up that compiles. The reference processes tiles one after the other, each as one product of all its pixels
with all its splats. Writes benchmarks/results/splats.json and splats.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.provenance import provenance
from benchmarks.timing import CLOCKS, seconds
from scoredistill.camera import Cameras, ring
from scoredistill.evaluate.report import markdown
from scoredistill.kernels import backend
from scoredistill.kernels.project import project
from scoredistill.kernels.rasterize import CHANNELS, rasterize, tiles

RESULTS = Path(__file__).with_name("results")
SPREAD = 0.3  # standard deviation of the means: the ball fills the image
SIZE = 4  # side of a tile in pixels, as in the fast rasterizer
WIDE = 1.92  # mean standard deviation of a splat times the resolution: about a pixel at every --size


class Cloud:
    """Random splats with features and output gradients, and one step on them."""

    def __init__(self, count: int, size: int, std: float, device: str) -> None:
        rng = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng)

        values = (SPREAD * normal(count, 3), std * torch.exp(0.3 * normal(count, 3)), normal(count, 4))
        values += (torch.rand(count, generator=rng), torch.rand(1, count, CHANNELS, generator=rng))
        self.leaves = [value.to(device).requires_grad_() for value in values]
        self.cameras: Cameras = ring(1, size).to(device)
        self.grad_outputs = [normal(1, CHANNELS, size, size).to(device), normal(1, 1, size, size).to(device)]

    def render(self) -> tuple[Tensor, Tensor]:
        """Projected and composited features, and opacity."""
        means, stds, rotations, opacities, features = self.leaves
        footprints = project(means, stds, rotations, self.cameras)
        return rasterize(footprints, opacities, features, self.cameras.height, self.cameras.width)

    def step(self) -> tuple[Tensor, ...]:
        """Gradients with respect to all parameters."""
        return torch.autograd.grad(self.render(), self.leaves, self.grad_outputs)


def row(cloud: Cloud, clock: str, repeats: int, *, reference: bool) -> dict[str, float]:
    """Milliseconds of one cloud, forward and with backward; with `reference` also its time and the agreement."""
    with torch.no_grad():
        means, stds, rotations, opacities, _ = cloud.leaves
        footprints = project(means, stds, rotations, cloud.cameras)
        pairs = len(tiles(footprints, opacities, cloud.cameras.height, cloud.cameras.width, SIZE).splat)
    found: dict[str, float] = {
        "splats": len(cloud.leaves[0]),
        "pixels a side": cloud.cameras.height,
        "pairs with tiles": pairs,
    }
    with backend.using("warp"):
        found["forward ms"] = 1e3 * min(seconds(cloud.render, repeats, clock))
        found["step ms"] = 1e3 * min(seconds(cloud.step, repeats, clock))
        fast = cloud.step()
    if reference:
        with backend.using("torch"):
            found["reference step ms"] = 1e3 * min(seconds(cloud.step, 1, clock))
            exact = cloud.step()
        found["ratio"] = found["reference step ms"] / found["step ms"]
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(fast, exact, strict=True)]
        found["largest relative error of a gradient, in millionths"] = 1e6 * max(errors)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splats", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)

    def measured(count: int, size: int, *, reference: bool = False) -> dict[str, float]:
        cloud = Cloud(count, size, WIDE / flags.size, flags.device)
        return row(cloud, flags.clock, flags.repeats, reference=reference)

    tables = {
        "against the reference": [measured(flags.splats, flags.size, reference=True)],
        "over the number of splats": [measured(flags.splats * k // 8, flags.size) for k in (1, 2, 4, 8, 16)],
        "over the number of pixels": [measured(flags.splats, flags.size * k // 4) for k in (1, 2, 4, 8)],
    }
    about = {"threads": flags.threads, "clock": flags.clock, "device": flags.device, **provenance()}
    flags.out.mkdir(exist_ok=True)
    (flags.out / "splats.json").write_text(json.dumps({**tables, **about}, indent=2) + "\n")
    text = "".join(f"## {title}\n\n{markdown(rows)}\n\n" for title, rows in tables.items())
    text += "\n".join(f"- {name}: {value}" for name, value in about.items()) + "\n"
    (flags.out / "splats.md").write_text(f"# Splats\n\n{text}")
    print(text)


if __name__ == "__main__":
    main()
